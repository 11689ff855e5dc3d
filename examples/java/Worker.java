import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Pattern;

/** Does a piece of work again and again, but only where its pod leads. It reads role.json before each piece. */
public class Worker {
  private static final long PIECE_NS = 500_000_000; // no piece of work takes longer
  private static final Path ROLE_FILE =
      Path.of(System.getenv().getOrDefault("LEASEHOLD_ROLE_FILE", "/run/leasehold/role.json"));

  record Leadership(long term, String pod) {}

  /** Empty unless this pod leads for as long as a piece of work takes. */
  static Optional<Leadership> leadership() {
    try {
      String file = Files.readString(ROLE_FILE);
      String bootId = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
      long now = boottimeNs();
      long until = Long.parseLong(member(file, "validUntilBoottimeNs"));
      long durationNs = Long.parseLong(member(file, "durationMs")) * 1_000_000;
      boolean leads = member(file, "version").equals("1")
          && member(file, "role").equals("leader")
          && member(file, "bootId").equals(bootId) // else the stamp is of the machine's last life
          // Nobody renews a file: it says `leader` also when its sidecar is frozen or dead. The time tells.
          && now + PIECE_NS < until && until <= now + durationNs;
      return leads ? Optional.of(new Leadership(Long.parseLong(member(file, "term")), member(file, "self"))) : Optional.empty();
    } catch (IOException | IllegalArgumentException unreadable) {
      return Optional.empty(); // not written yet, or null: in any doubt another pod leads
    }
  }

  /** System.nanoTime() stands still while the machine is suspended; /proc/uptime does not. It has whole hundredths, rounded down. */
  static long boottimeNs() throws IOException {
    String uptime = Files.readString(Path.of("/proc/uptime")).split(" ")[0];
    return new BigDecimal(uptime).movePointRight(9).longValueExact() + 10_000_000;
  }

  /** The first member of this name. role.json has one a line, so this needs no JSON library; use yours if you have one. */
  static String member(String file, String name) {
    var found = Pattern.compile("(?m)^ *\"" + name + "\": \"?([^\",]*)\"?,?$").matcher(file);
    if (!found.find()) throw new IllegalArgumentException("role.json has no " + name);
    return found.group(1);
  }

  static void work(long term, String pod) {
    System.out.println("term " + term + ": " + pod + " works");
  }

  public static void main(String[] args) throws InterruptedException {
    while (true) { // SIGTERM ends a JVM by itself
      leadership().ifPresent(now -> work(now.term(), now.pod()));
      Thread.sleep(500);
    }
  }
}
