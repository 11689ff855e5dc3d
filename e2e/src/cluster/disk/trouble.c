/* A disk that is slow, full, failing or hung, for one process: loaded into it (LD_PRELOAD) by the harness, which says what is
 * wrong by a file that both map. Only files below CHAOS_DISK_FOLDER are concerned.
 *
 *   write to a file      does not come back while writes_hung is set; waits write_delay_ms; fails with write_errno; fails
 *                        with ENOSPC while the disk is full, unless it only changes bytes that the file has already
 *   fdatasync, fsync     does not come back while syncs_hung is set; waits sync_delay_ms; fails with sync_errno, or with
 *                        EIO as long as sync_once counts down. What was written stays readable, as with a real kernel:
 *                        the page cache keeps it
 *   open that creates    fails with ENOSPC while the disk is full
 *
 * Everything else is the C library's. Nothing is done, nor looked up, while nothing is wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control {
  volatile uint32_t write_errno, sync_errno, sync_once, full, write_delay_ms, sync_delay_ms;
  uint32_t hits;
  volatile uint32_t syncs_hung, writes_hung;
};

static struct control *control;
static const char *folder;
static size_t folder_length;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("CHAOS_DISK_CONTROL");
  folder = getenv("CHAOS_DISK_FOLDER");
  if (!path || !folder) return;
  folder_length = strlen(folder);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (map != MAP_FAILED) control = map;
}

static int is_inside(const char *path) {
  return strncmp(path, folder, folder_length) == 0 && (path[folder_length] == '/' || path[folder_length] == 0);
}

/* Is something wrong, and is this file on the disk that it is wrong with? */
static int concerns(int fd) {
  char name[64], path[4096];
  struct control *c = control;
  if (!c) return 0;
  if (!(c->write_errno | c->sync_errno | c->sync_once | c->full | c->write_delay_ms | c->sync_delay_ms |
        c->syncs_hung | c->writes_hung)) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(name, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_inside(path);
}

static void hit(void) { __atomic_add_fetch(&control->hits, 1, __ATOMIC_RELAXED); }

static void wait_ms(uint32_t ms) {
  struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
  if (ms == 0) return;
  hit();
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

static void wait_while(volatile uint32_t *hung) {
  struct timespec moment = {0, 2000000};
  if (*hung) hit();
  while (*hung) nanosleep(&moment, NULL);
}

/* -1 with errno set: the write fails. 0: go on. */
static int before_write(int fd, size_t count, off_t offset) {
  struct stat found;
  if (!concerns(fd)) return 0;
  wait_while(&control->writes_hung);
  wait_ms(control->write_delay_ms);
  if (control->write_errno) {
    hit();
    errno = (int)control->write_errno;
    return -1;
  }
  if (control->full && fstat(fd, &found) == 0) {
    /* Without an offset of its own: at the end, or where the file stands. */
    if (offset < 0) offset = fcntl(fd, F_GETFL) & O_APPEND ? found.st_size : lseek(fd, 0, SEEK_CUR);
    if (offset + (off_t)count > found.st_size) {
      hit();
      errno = ENOSPC;
      return -1;
    }
  }
  return 0;
}

static int before_sync(int fd) {
  if (!concerns(fd)) return 0;
  wait_while(&control->syncs_hung);
  wait_ms(control->sync_delay_ms);
  uint32_t times = control->sync_once;
  while (times > 0) {
    if (__atomic_compare_exchange_n(&control->sync_once, &times, times - 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
      hit();
      errno = EIO;
      return -1;
    }
  }
  if (control->sync_errno) {
    hit();
    errno = (int)control->sync_errno;
    return -1;
  }
  return 0;
}

#define FIND(name) \
  if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (before_write(fd, count, offset)) return -1;
  FIND(pwrite64);
  return real(fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (before_write(fd, count, offset)) return -1;
  FIND(pwrite);
  return real(fd, bytes, count, offset);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  static ssize_t (*real)(int, const void *, size_t);
  if (before_write(fd, count, -1)) return -1;
  FIND(write);
  return real(fd, bytes, count);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (before_sync(fd)) return -1;
  FIND(fdatasync);
  return real(fd);
}

int fsync(int fd) {
  static int (*real)(int);
  if (before_sync(fd)) return -1;
  FIND(fsync);
  return real(fd);
}

/* A new name needs room, too. */
static int is_without_room(const char *path, int flags) {
  if (!control || !control->full || !(flags & O_CREAT) || !is_inside(path) || access(path, F_OK) == 0) return 0;
  hit();
  errno = ENOSPC;
  return 1;
}

int open64(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (is_without_room(path, flags)) return -1;
  FIND(open64);
  return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (is_without_room(path, flags)) return -1;
  FIND(open);
  return real(path, flags, mode);
}
