/* Stands between a process and its files (LD_PRELOAD), for the crash tests.
 *
 *   CRASH_ROOT   only files below this folder are looked at
 *   CRASH_LOG    each call that changes one of them, or says something to somebody, is appended here, in the order in
 *                which the calls took effect: what a power loss may leave can be worked out from that
 *   CRASH_KILL   N: the process kills itself (SIGKILL) before the call number N (of those that are logged, from 1)
 *   CRASH_FAIL   sync:N:EIO | write:N:ENOSPC | grow:N:ENOSPC ...   the call number N of that kind fails. `grow`: each
 *                write from number N on that would make its file longer: the disk is full
 *   CRASH_HANG   while there is a file of this name, no write and no sync comes back. (What is waited for holds no mutex, as
 *                a real disk lets other files and sockets be.)
 *   CRASH_MATCH  failures and hangs only on files whose path contains this
 *   CRASH_WHILE  failures only while there is a file of this name
 *
 * A call that changes something is made and logged under one mutex, so the log's order is the true one. A sync is
 * logged when it begins and when it ends: it covers what was logged before its beginning. What is told to somebody (a
 * socket, stdout) is logged before it leaves. What the shim does not understand (a shared mapping, a hard link) is
 * logged as such, and the test fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { START = 1, OPEN, WRITE, ZEROS, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, TRUNCATE, OUT, STRANGE };
enum { FDS = 65536 };

struct head {
    uint32_t kind;
    int32_t result;  /* 0, or the errno */
    uint64_t file;   /* the inode */
    uint64_t offset; /* or flags */
    uint64_t length; /* of what follows; ZEROS: of what was written */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static long kill_at, calls;
static char fail_kind[16];
static long fail_at, fail_seen;
static int fail_errno;
static const char *match, *fail_while, *hang;
/* What an open descriptor is: 0 nothing of ours, else the inode; and whether it is a folder. */
static uint64_t inode_of[FDS];
static char matched[FDS], folder[FDS];

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void begin(void) {
    static const struct { const char *name; int number; } errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}};
    const char *text = getenv("CRASH_ROOT"), *path = getenv("CRASH_LOG");
    if (!text || !path || log_fd >= 0) return;
    root_length = strlen(strncpy(root, text, sizeof root - 1));
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    /* Out of the way of the program's own descriptors. */
    int high = fcntl(log_fd, F_DUPFD_CLOEXEC, 1000);
    if (high >= 0) { syscall(SYS_close, log_fd); log_fd = high; }
    if ((text = getenv("CRASH_KILL"))) kill_at = atol(text);
    if ((text = getenv("CRASH_FAIL"))) {
        char word[16] = "";
        if (sscanf(text, "%15[a-z]:%ld:%15s", fail_kind, &fail_at, word) == 3)
            for (size_t at = 0; at < sizeof errors / sizeof *errors; at++)
                if (!strcmp(word, errors[at].name)) fail_errno = errors[at].number;
        if (!fail_errno) { fprintf(stderr, "CRASH_FAIL=%s is not understood\n", text); _exit(99); }
    }
    match = getenv("CRASH_MATCH");
    fail_while = getenv("CRASH_WHILE");
    hang = getenv("CRASH_HANG");
}

static void wait_while_hung(int fd) {
    const struct timespec moment = {0, 2000000};
    while (hang && matched[fd] && !syscall(SYS_faccessat, AT_FDCWD, hang, F_OK)) nanosleep(&moment, NULL);
}

/* With the mutex. */
static void note(uint32_t kind, int result, uint64_t file, uint64_t offset, const void *bytes, uint64_t length) {
    struct head head = {kind, result, file, offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, kind == ZEROS ? 0 : length}};
    ssize_t want = (ssize_t)(parts[0].iov_len + parts[1].iov_len);
    if (syscall(SYS_writev, log_fd, parts, 2) != want) { static const char why[] = "the crash log cannot be written\n";
        syscall(SYS_write, 2, why, sizeof why - 1); _exit(99); }
}

/* Takes the mutex. Dies here if the time has come. */
static void enter(void) {
    pthread_mutex_lock(&mutex);
    if (++calls == kill_at) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }
}
static void leave(void) { int kept = errno; pthread_mutex_unlock(&mutex); errno = kept; }

/* With the mutex: does this call fail? */
static int fails(const char *kind, int matches) {
    if (!fail_errno || strcmp(kind, fail_kind) || !matches) return 0;
    if (fail_while && syscall(SYS_faccessat, AT_FDCWD, fail_while, F_OK)) return 0;
    fail_seen++;
    return !strcmp(kind, "grow") ? fail_seen >= fail_at : fail_seen == fail_at;
}

static int below(const char *path) {
    return log_fd >= 0 && path && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int is_ours(int fd) { return log_fd >= 0 && fd >= 0 && fd < FDS && inode_of[fd]; }

static int opened(int (*call)(int, const char *, int, ...), int at, const char *path, int flags, mode_t mode) {
    if (!below(path)) return call(at, path, flags, mode);
    struct stat stat;
    enter();
    int was_there = !lstat(path, &stat);
    int fd = call(at, path, flags, mode);
    if (fd >= 0 && fd < FDS && !fstat(fd, &stat)) {
        inode_of[fd] = stat.st_ino;
        folder[fd] = S_ISDIR(stat.st_mode);
        matched[fd] = !match || strstr(path, match);
        int changes = !was_there || (flags & O_TRUNC);
        /* Each file is told when it is opened, so that the inode has a name. */
        note(OPEN, 0, stat.st_ino, (was_there ? 1 : 0) | (changes ? 2 : 0) | (folder[fd] ? 4 : 0), path, strlen(path));
    }
    leave();
    return fd;
}

static mode_t mode_of(int flags, va_list list) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(list, int) : 0;
}
static int real_openat(int at, const char *path, int flags, ...) {
    va_list list; va_start(list, flags); mode_t mode = (mode_t)va_arg(list, int); va_end(list);
    return (int)syscall(SYS_openat, at, path, flags, mode);
}
#define OPENS(name)                                                                             \
    int name(const char *path, int flags, ...) {                                                \
        va_list list; va_start(list, flags); mode_t mode = mode_of(flags, list); va_end(list);  \
        return opened(real_openat, AT_FDCWD, path, flags, mode);                                \
    }
#define OPENS_AT(name)                                                                          \
    int name(int at, const char *path, int flags, ...) {                                        \
        va_list list; va_start(list, flags); mode_t mode = mode_of(flags, list); va_end(list);  \
        return opened(real_openat, at, path, flags, mode);                                      \
    }
OPENS(open) OPENS(open64) OPENS_AT(openat) OPENS_AT(openat64)

int close(int fd) {
    if (is_ours(fd)) { pthread_mutex_lock(&mutex); inode_of[fd] = 0; pthread_mutex_unlock(&mutex); }
    return (int)syscall(SYS_close, fd);
}

static int is_zero(const char *bytes, size_t length) {
    return length && !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
}

static ssize_t wrote(int fd, const void *bytes, size_t length, off_t offset) {
    struct stat stat;
    wait_while_hung(fd);
    enter();
    if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
    int grows = !fstat(fd, &stat) && offset + (off_t)length > stat.st_size;
    ssize_t done = -1;
    if (fails("write", matched[fd]) || (grows && fails("grow", matched[fd]))) {
        errno = fail_errno;
        /* Half of it is there all the same. */
        ssize_t half = grows ? 0 : (ssize_t)syscall(SYS_pwrite64, fd, bytes, length / 2, offset);
        if (half > 0) note(WRITE, 0, inode_of[fd], (uint64_t)offset, bytes, (uint64_t)half);
        errno = fail_errno;
    } else if ((done = (ssize_t)syscall(SYS_pwrite64, fd, bytes, length, offset)) > 0) {
        note(is_zero(bytes, (size_t)done) ? ZEROS : WRITE, 0, inode_of[fd], (uint64_t)offset, bytes, (uint64_t)done);
    }
    leave();
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return is_ours(fd) ? wrote(fd, bytes, length, offset) : (ssize_t)syscall(SYS_pwrite64, fd, bytes, length, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return pwrite(fd, bytes, length, offset); }

/* What is told: to stdout, or by a socket. */
static int is_told(int fd) {
    struct stat stat;
    if (log_fd < 0 || fd == log_fd) return 0;
    return fd == 1 || (fd > 2 && !fstat(fd, &stat) && S_ISSOCK(stat.st_mode));
}
static void told(int fd, const struct iovec *parts, size_t count) {
    size_t length = 0, end = 0;
    for (size_t at = 0; at < count; at++) length += parts[at].iov_len;
    char *whole = malloc(length + 1);
    if (!whole) abort();
    for (size_t at = 0; at < count; end += parts[at++].iov_len) memcpy(whole + end, parts[at].iov_base, parts[at].iov_len);
    enter();
    note(OUT, 0, (uint64_t)fd, 0, whole, length);
    leave();
    free(whole);
}

static void strange(const char *what) {
    enter(); note(STRANGE, 0, 0, 0, what, strlen(what)); leave();
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    if (is_ours(fd)) {
        ssize_t done = wrote(fd, bytes, length, -1);
        if (done > 0) lseek(fd, done, SEEK_CUR);
        return done;
    }
    if (is_told(fd)) told(fd, &part, 1);
    return (ssize_t)syscall(SYS_write, fd, bytes, length);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (is_ours(fd)) strange("writev");
    if (is_told(fd)) told(fd, parts, (size_t)count);
    return (ssize_t)syscall(SYS_writev, fd, parts, count);
}
ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    struct iovec part = {(void *)bytes, length};
    if (is_told(fd)) told(fd, &part, 1);
    return (ssize_t)syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0);
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (is_told(fd)) told(fd, message->msg_iov, message->msg_iovlen);
    return (ssize_t)syscall(SYS_sendmsg, fd, message, flags);
}

static int synced(int fd, long call) {
    enter();
    uint64_t inode = inode_of[fd];
    int failed = fails("sync", matched[fd] && !folder[fd]) || fails("folder", matched[fd] && folder[fd]);
    note(SYNC_BEGIN, 0, inode, 0, NULL, 0);
    leave();
    wait_while_hung(fd);
    int done = failed ? (errno = fail_errno, -1) : (int)syscall(call, fd);
    int result = done ? errno : 0;
    enter();
    note(SYNC_END, result, inode, 0, NULL, 0);
    leave();
    errno = result;
    return done;
}
int fsync(int fd) { return is_ours(fd) ? synced(fd, SYS_fsync) : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return is_ours(fd) ? synced(fd, SYS_fdatasync) : (int)syscall(SYS_fdatasync, fd); }

int rename(const char *from, const char *to) {
    if (!below(from) && !below(to)) return (int)syscall(SYS_rename, from, to);
    char both[2 * PATH_MAX];
    int length = snprintf(both, sizeof both, "%s\n%s", from, to);
    enter();
    int done = fails("rename", !match || strstr(to, match)) ? (errno = fail_errno, -1) : (int)syscall(SYS_rename, from, to);
    if (!done) note(RENAME, 0, 0, 0, both, (uint64_t)length);
    leave();
    return done;
}
int unlink(const char *path) {
    if (!below(path)) return (int)syscall(SYS_unlink, path);
    enter();
    int done = (int)syscall(SYS_unlink, path);
    if (!done) note(UNLINK, 0, 0, 0, path, strlen(path));
    leave();
    return done;
}
int mkdir(const char *path, mode_t mode) {
    if (!below(path)) return (int)syscall(SYS_mkdir, path, mode);
    enter();
    int done = (int)syscall(SYS_mkdir, path, mode);
    if (!done) note(MKDIR, 0, 0, 0, path, strlen(path));
    leave();
    return done;
}
int ftruncate(int fd, off_t length) {
    if (!is_ours(fd)) return (int)syscall(SYS_ftruncate, fd, length);
    enter();
    int done = (int)syscall(SYS_ftruncate, fd, length);
    if (!done) note(TRUNCATE, 0, inode_of[fd], (uint64_t)length, NULL, 0);
    leave();
    return done;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

/* None of the store's ways to a file; if one becomes so, it must be understood here first. */
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (is_ours(fd)) strange("pwritev");
    return REAL(pwritev)(fd, parts, count, offset);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (is_ours(fd)) strange("fallocate");
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    if (is_ours(out)) strange("copy_file_range");
    return (ssize_t)syscall(SYS_copy_file_range, in, from, out, to, length, flags);
}
int link(const char *from, const char *to) {
    if (below(to)) strange("link");
    return (int)syscall(SYS_link, from, to);
}
int rmdir(const char *path) {
    if (below(path)) strange("rmdir");
    return (int)syscall(SYS_rmdir, path);
}
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (is_ours(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) strange("mmap");
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

__attribute__((constructor)) static void load(void) {
    begin();
    if (log_fd >= 0) { pthread_mutex_lock(&mutex); note(START, 0, (uint64_t)getpid(), 0, NULL, 0); pthread_mutex_unlock(&mutex); }
}
