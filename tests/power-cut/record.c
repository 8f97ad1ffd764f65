/*
 * Records every change that a process makes below its data folder, in the order in which it happens, so that a test can say what a disk
 * would hold had the power gone at any of them. Loaded with LD_PRELOAD into the real server by tests/src/power_cut.rs, which reads the log.
 *
 * The folder is the one behind --data-dir on the command line; a process without it records nothing. The log is the file named by
 * POWER_CUT_LOG. An operation and its record are made under a lock that all processes share (flock on the log), so the order of the records
 * is the order of the operations; who holds that lock may kill the process and has a log that tells all.
 *
 * A sync is two records, before and after: what was written before the first is on the disk at the second. The wait between them is not
 * under the lock, so that the others go on writing as they do on a real disk.
 *
 * What this can't follow (sync, syncfs, splice, exchange of names, holes, symbolic links) is recorded as UNFOLLOWED and ends the test.
 * Writes through shared maps are not seen: SQLite's -shm file lives of them, and is made anew from the WAL after a crash.
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if !defined(__LP64__)
#error "offsets are taken to be 64 bits wide"
#endif

#define HOOK __attribute__((visibility("default")))

/* The numbers are known to tests/src/power_cut/log.rs too. */
enum kind {
    CREATE = 1,     /* first: path */
    UNNAMED = 2,    /* a file without a name (O_TMPFILE) */
    TRUNCATE = 3,   /* position: the new length */
    WRITE = 4,      /* position: the offset; second: the bytes */
    ALLOCATE = 5,   /* position: the length that the file has at least */
    SYNC_BEGIN = 6, /* position: a number for the pair; first: path */
    SYNC_END = 7,   /* position: the same number; only when it succeeded */
    SYNC_RANGE = 8, /* promises nothing */
    RENAME = 9,     /* first, second: paths */
    LINK = 10,      /* first, second: paths */
    UNLINK = 11,    /* first: path */
    MKDIR = 12,     /* first: path */
    RMDIR = 13,     /* first: path */
    SHARED_MAP = 14,/* first: path */
    UNFOLLOWED = 15,/* first: what it was */
};

struct header {
    uint32_t kind;
    uint32_t first_bytes;
    uint64_t second_bytes;
    uint64_t inode;
    uint64_t position;
};

static char root[PATH_MAX];
/* The folder's own name is in this one: its syncs are recorded too. */
static char parent[PATH_MAX];
static size_t root_bytes;
static int log_fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t syncs;

static int real_openat(int dir, const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

static void die(const char *why) {
    dprintf(2, "power cut recorder: %s: %s\n", why, strerror(errno));
    abort();
}

/* "folder/name" with the folder's links resolved; 0 when there is no such folder. */
static int resolve_name(const char *path, char *out) {
    char folder[PATH_MAX];
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') bytes--;
    if (bytes == 0 || bytes >= sizeof folder) return 0;
    memcpy(folder, path, bytes);
    folder[bytes] = 0;
    char *slash = strrchr(folder, '/');
    const char *name = slash ? slash + 1 : folder;
    if (!strcmp(name, ".") || !strcmp(name, "..") || !*name) return realpath(folder, out) != NULL;
    char copy[NAME_MAX + 1];
    if (strlen(name) > NAME_MAX) return 0;
    strcpy(copy, name);
    if (!slash) strcpy(folder, ".");
    else if (slash == folder) folder[1] = 0;
    else *slash = 0;
    if (!realpath(folder, out)) return 0;
    size_t end = strlen(out);
    if (end + 1 + strlen(copy) >= PATH_MAX) return 0;
    if (end > 1) out[end++] = '/';
    strcpy(out + end, copy);
    return 1;
}

static int resolve(int dir, const char *path, char *out) {
    if (!path) return 0;
    if (path[0] == '/' || dir == AT_FDCWD) return resolve_name(path, out);
    char link[64], joined[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t bytes = readlink(link, joined, sizeof joined - 1);
    if (bytes < 0 || (size_t)bytes + 1 + strlen(path) >= sizeof joined) return 0;
    joined[bytes] = '/';
    strcpy(joined + bytes + 1, path);
    return resolve_name(joined, out);
}

static int below(const char *path) {
    return root_bytes && !strncmp(path, root, root_bytes) && (path[root_bytes] == 0 || path[root_bytes] == '/');
}

/* Whether the call is about our folder; `out` is then the whole path. Keeps errno. */
static int ours(int dir, const char *path, char *out) {
    int before = errno;
    int found = root_bytes && resolve(dir, path, out) && below(out);
    errno = before;
    return found;
}

/* Whether `fd` is a file or folder of ours; fills its inode and path. Keeps errno. */
static int ours_fd(int fd, uint64_t *inode, char *path) {
    if (!root_bytes) return 0;
    int before = errno;
    struct stat stat;
    char link[64];
    int found = 0;
    if (!fstat(fd, &stat) && (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t bytes = readlink(link, path, PATH_MAX - 1);
        if (bytes > 0) {
            path[bytes] = 0;
            found = below(path);
            *inode = stat.st_ino;
        }
    }
    errno = before;
    return found;
}

static void enter(void) {
    pthread_mutex_lock(&mutex);
    while (flock(log_fd, LOCK_EX))
        if (errno != EINTR) die("lock the log");
}

/* Keeps errno, which is the operation's. */
static void leave(void) {
    int before = errno;
    if (flock(log_fd, LOCK_UN)) die("unlock the log");
    pthread_mutex_unlock(&mutex);
    errno = before;
}

/* POWER_CUT_KILL, such as "9:.wav 6:-wal": records of these kinds, with this in their (second) path, in this order. After the last of them
 * the process ends as by kill -9. */
static void kill_at(enum kind kind, const char *path) {
    static const char *step;
    static int begun;
    if (!begun) step = getenv("POWER_CUT_KILL");
    begun = 1;
    if (!step || !*step) return;
    char *part;
    if (strtoul(step, &part, 10) != (unsigned long)kind || *part++ != ':') return;
    char wanted[NAME_MAX];
    size_t bytes = strcspn(part, " ");
    if (bytes >= sizeof wanted) die("POWER_CUT_KILL");
    memcpy(wanted, part, bytes);
    wanted[bytes] = 0;
    if (!strstr(path, wanted)) return;
    step = part + bytes + (part[bytes] == ' ');
    if (!*step) kill(getpid(), SIGKILL);
}

static void append(enum kind kind, uint64_t inode, uint64_t position, const char *first, const void *second, size_t second_bytes) {
    int before = errno;
    struct header header = {kind, first ? (uint32_t)strlen(first) : 0, second_bytes, inode, position};
    struct iovec parts[3] = {{&header, sizeof header}, {(void *)first, header.first_bytes}, {(void *)second, second_bytes}};
    ssize_t whole = (ssize_t)(sizeof header + header.first_bytes + second_bytes);
    if (syscall(SYS_writev, log_fd, parts, 3) != whole) die("write the log");
    if (first) kill_at(kind, kind == RENAME || kind == LINK ? second : first);
    errno = before;
}

static void unfollowed(const char *what) {
    enter();
    append(UNFOLLOWED, 0, 0, what, NULL, 0);
    leave();
}

__attribute__((constructor)) static void start(void) {
    const char *log = getenv("POWER_CUT_LOG");
    int fd = log ? real_openat(AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd < 0) return;
    static char line[64 * 1024];
    size_t bytes = 0;
    for (ssize_t got; bytes < sizeof line - 1 && (got = read(fd, line + bytes, sizeof line - 1 - bytes)) > 0;) bytes += (size_t)got;
    close(fd);
    char folder[PATH_MAX];
    for (char *word = line; word < line + bytes; word += strlen(word) + 1) {
        char *next = word + strlen(word) + 1;
        if (strcmp(word, "--data-dir") || next >= line + bytes) continue;
        if (!resolve_name(next, folder)) die(next);
        int opened = real_openat(AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of the numbers that programs expect for their own files. */
        log_fd = opened < 0 ? -1 : fcntl(opened, F_DUPFD_CLOEXEC, 500);
        if (log_fd < 0) die(log);
        close(opened);
        strcpy(root, folder);
        root_bytes = strlen(root);
        memcpy(parent, root, (size_t)(strrchr(root, '/') - root));
        return;
    }
}

/* A process that ends has threads that still work, such as one that closes the database: their change and its record are made both or none.
 * The lock is held to the end, which is near. */
__attribute__((destructor)) static void finish(void) {
    if (root_bytes) enter();
}

/* Files: open. */

static int open_at(int dir, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    int unnamed = (flags & O_TMPFILE) == O_TMPFILE;
    if ((!(flags & (O_CREAT | O_TRUNC)) && !unnamed) || !ours(dir, path, whole)) return real_openat(dir, path, flags, mode);
    enter();
    struct stat stat;
    int before = errno;
    int existed = !fstatat(dir, path, &stat, 0);
    errno = before;
    int fd = real_openat(dir, path, flags, mode);
    if (fd >= 0) {
        int had_bytes = existed && stat.st_size > 0;
        if (fstat(fd, &stat)) die("look at a new file");
        if (unnamed) append(UNNAMED, stat.st_ino, 0, NULL, NULL, 0);
        else if (!existed) append(CREATE, stat.st_ino, 0, whole, NULL, 0);
        else if ((flags & O_TRUNC) && had_bytes) append(TRUNCATE, stat.st_ino, 0, NULL, NULL, 0);
    }
    leave();
    return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                     \
    HOOK int name(const char *path, int flags, ...) {  \
        va_list arguments;                             \
        va_start(arguments, flags);                    \
        mode_t mode = mode_of(flags, arguments);       \
        va_end(arguments);                             \
        return open_at(AT_FDCWD, path, flags, mode);   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                            \
    HOOK int name(int dir, const char *path, int flags, ...) {  \
        va_list arguments;                                      \
        va_start(arguments, flags);                             \
        mode_t mode = mode_of(flags, arguments);                \
        va_end(arguments);                                      \
        return open_at(dir, path, flags, mode);                 \
    }
OPENAT(openat)
OPENAT(openat64)

HOOK int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
HOOK int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
HOOK int __openat_2(int dir, const char *path, int flags) { return open_at(dir, path, flags, 0); }
HOOK int __openat64_2(int dir, const char *path, int flags) { return open_at(dir, path, flags, 0); }
HOOK int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
HOOK int creat64(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* Files: bytes. */

static off_t place(int fd) {
    off_t at = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    if (at < 0) die("ask for the place in a file");
    return at;
}

/* `at` < 0: at the file's own place. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    char path[PATH_MAX];
    uint64_t inode;
    int positioned = at >= 0;
    int follow = ours_fd(fd, &inode, path);
    if (follow) enter();
    ssize_t written = positioned ? syscall(SYS_pwritev2, fd, parts, (long)count, (long)at, 0L, (long)flags)
                                 : syscall(SYS_writev, fd, parts, (long)count);
    if (follow && written > 0) {
        if (positioned && fcntl(fd, F_GETFL) & O_APPEND) append(UNFOLLOWED, inode, 0, "pwrite on an appending file", NULL, 0);
        if (!positioned) at = place(fd) - written;
        char *bytes = malloc((size_t)written);
        if (!bytes) die("copy the bytes");
        size_t copied = 0;
        for (int i = 0; copied < (size_t)written; i++) {
            size_t part = parts[i].iov_len < (size_t)written - copied ? parts[i].iov_len : (size_t)written - copied;
            memcpy(bytes + copied, parts[i].iov_base, part);
            copied += part;
        }
        append(WRITE, inode, (uint64_t)at, NULL, bytes, (size_t)written);
        free(bytes);
    }
    if (follow) leave();
    return written;
}

HOOK ssize_t write(int fd, const void *bytes, size_t count) {
    struct iovec part = {(void *)bytes, count};
    return write_parts(fd, &part, 1, -1, 0);
}

static ssize_t write_at(int fd, const void *bytes, size_t count, off_t at) {
    if (at < 0) {
        errno = EINVAL;
        return -1;
    }
    struct iovec part = {(void *)bytes, count};
    return write_parts(fd, &part, 1, at, 0);
}

HOOK ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return write_at(fd, bytes, count, at); }
HOOK ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return write_at(fd, bytes, count, at); }
HOOK ssize_t writev(int fd, const struct iovec *parts, int count) { return write_parts(fd, parts, count, -1, 0); }

static ssize_t write_parts_at(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    if (at < -1 || (at == -1 && flags)) {
        errno = EINVAL;
        return -1;
    }
    return write_parts(fd, parts, count, at, flags);
}

HOOK ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return write_parts_at(fd, parts, count, at, 0); }
HOOK ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return write_parts_at(fd, parts, count, at, 0); }
HOOK ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    return write_parts_at(fd, parts, count, at, flags);
}
HOOK ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    return write_parts_at(fd, parts, count, at, flags);
}

/* The kernel has copied to a file of ours: what it wrote is read back. */
static void append_copied(int fd, uint64_t inode, off_t at, size_t count) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = real_openat(AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    char *bytes = malloc(count);
    if (again < 0 || !bytes) die("read back a copy");
    for (size_t read = 0; read < count;) {
        ssize_t got = pread(again, bytes + read, count - read, at + (off_t)read);
        if (got <= 0) die("read back a copy");
        read += (size_t)got;
    }
    append(WRITE, inode, (uint64_t)at, NULL, bytes, count);
    free(bytes);
    close(again);
}

HOOK ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    char path[PATH_MAX];
    uint64_t inode;
    int follow = ours_fd(to, &inode, path);
    if (follow) enter();
    ssize_t copied = syscall(SYS_copy_file_range, from, from_at, to, to_at, count, flags);
    if (follow && copied > 0) append_copied(to, inode, (to_at ? *to_at : place(to)) - copied, (size_t)copied);
    if (follow) leave();
    return copied;
}

static ssize_t send_file(int to, int from, off_t *from_at, size_t count) {
    char path[PATH_MAX];
    uint64_t inode;
    int follow = ours_fd(to, &inode, path);
    if (follow) enter();
    ssize_t copied = syscall(SYS_sendfile, to, from, from_at, count);
    if (follow && copied > 0) append_copied(to, inode, place(to) - copied, (size_t)copied);
    if (follow) leave();
    return copied;
}

HOOK ssize_t sendfile(int to, int from, off_t *from_at, size_t count) { return send_file(to, from, from_at, count); }
HOOK ssize_t sendfile64(int to, int from, off64_t *from_at, size_t count) { return send_file(to, from, from_at, count); }

HOOK ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    char path[PATH_MAX];
    uint64_t inode;
    if (ours_fd(to, &inode, path)) unfollowed("splice");
    return syscall(SYS_splice, from, from_at, to, to_at, count, flags);
}

static int truncate_fd(int fd, off_t length) {
    char path[PATH_MAX];
    uint64_t inode;
    int follow = ours_fd(fd, &inode, path);
    if (follow) enter();
    int failed = (int)syscall(SYS_ftruncate, fd, length);
    if (follow && !failed) append(TRUNCATE, inode, (uint64_t)length, NULL, NULL, 0);
    if (follow) leave();
    return failed;
}

HOOK int ftruncate(int fd, off_t length) { return truncate_fd(fd, length); }
HOOK int ftruncate64(int fd, off64_t length) { return truncate_fd(fd, length); }

static int truncate_path(const char *path, off_t length) {
    char whole[PATH_MAX];
    if (!ours(AT_FDCWD, path, whole)) return (int)syscall(SYS_truncate, path, length);
    enter();
    struct stat stat;
    int failed = (int)syscall(SYS_truncate, path, length);
    if (!failed) {
        if (fstatat(AT_FDCWD, path, &stat, 0)) die("look at a cut file");
        append(TRUNCATE, stat.st_ino, (uint64_t)length, NULL, NULL, 0);
    }
    leave();
    return failed;
}

HOOK int truncate(const char *path, off_t length) { return truncate_path(path, length); }
HOOK int truncate64(const char *path, off64_t length) { return truncate_path(path, length); }

static int allocate(int fd, int mode, off_t at, off_t length) {
    char path[PATH_MAX];
    uint64_t inode;
    int follow = ours_fd(fd, &inode, path);
    if (follow) enter();
    int failed = (int)syscall(SYS_fallocate, fd, mode, at, length);
    if (follow && !failed && mode == 0) append(ALLOCATE, inode, (uint64_t)(at + length), NULL, NULL, 0);
    if (follow && !failed && mode & ~FALLOC_FL_KEEP_SIZE) append(UNFOLLOWED, inode, 0, "fallocate with holes", NULL, 0);
    if (follow) leave();
    return failed;
}

/* Says what went wrong by its answer, and not by errno. */
static int allocate_posix(int fd, off_t at, off_t length) {
    int before = errno;
    int answer = allocate(fd, 0, at, length) ? errno : 0;
    errno = before;
    return answer;
}

HOOK int fallocate(int fd, int mode, off_t at, off_t length) { return allocate(fd, mode, at, length); }
HOOK int fallocate64(int fd, int mode, off64_t at, off64_t length) { return allocate(fd, mode, at, length); }
HOOK int posix_fallocate(int fd, off_t at, off_t length) { return allocate_posix(fd, at, length); }
HOOK int posix_fallocate64(int fd, off64_t at, off64_t length) { return allocate_posix(fd, at, length); }

HOOK void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t at) {
    char path[PATH_MAX];
    uint64_t inode;
    int shared = (flags & MAP_TYPE) == MAP_SHARED || (flags & MAP_TYPE) == MAP_SHARED_VALIDATE;
    if (fd >= 0 && shared && protection & PROT_WRITE && ours_fd(fd, &inode, path)) {
        enter();
        append(SHARED_MAP, inode, 0, path, NULL, 0);
        leave();
    }
    return (void *)syscall(SYS_mmap, address, length, (long)protection, (long)flags, (long)fd, at);
}

HOOK void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t at) {
    return mmap(address, length, protection, flags, fd, at);
}

/* Syncs. */

static int sync_fd(int fd, long call) {
    char path[PATH_MAX] = "";
    uint64_t inode;
    if (!ours_fd(fd, &inode, path) && (!root_bytes || strcmp(path, parent))) return (int)syscall(call, fd);
    uint64_t number = (uint64_t)getpid() << 32 | atomic_fetch_add(&syncs, 1);
    enter();
    append(SYNC_BEGIN, inode, number, path, NULL, 0);
    leave();
    int failed = (int)syscall(call, fd);
    if (!failed) {
        enter();
        append(SYNC_END, inode, number, NULL, NULL, 0);
        leave();
    }
    return failed;
}

HOOK int fsync(int fd) { return sync_fd(fd, SYS_fsync); }
HOOK int fdatasync(int fd) { return sync_fd(fd, SYS_fdatasync); }

HOOK int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags) {
    char path[PATH_MAX];
    uint64_t inode;
    if (ours_fd(fd, &inode, path)) {
        enter();
        append(SYNC_RANGE, inode, 0, path, NULL, 0);
        leave();
    }
    return (int)syscall(SYS_sync_file_range, fd, at, count, (long)flags);
}

HOOK int syncfs(int fd) {
    if (root_bytes) unfollowed("syncfs");
    return (int)syscall(SYS_syncfs, fd);
}

HOOK void sync(void) {
    if (root_bytes) unfollowed("sync");
    syscall(SYS_sync);
}

/* Names. */

static int rename_at(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char whole_from[PATH_MAX], whole_to[PATH_MAX];
    int from_ours = ours(from_dir, from, whole_from), to_ours = ours(to_dir, to, whole_to);
    if (!from_ours && !to_ours) return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, (long)flags);
    if (!from_ours || !to_ours || flags & ~RENAME_NOREPLACE) unfollowed("rename with another disk, or an exchange");
    enter();
    int failed = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, (long)flags);
    if (!failed) append(RENAME, 0, 0, whole_from, whole_to, strlen(whole_to));
    leave();
    return failed;
}

HOOK int rename(const char *from, const char *to) { return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0); }
HOOK int renameat(int from_dir, const char *from, int to_dir, const char *to) { return rename_at(from_dir, from, to_dir, to, 0); }
HOOK int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return rename_at(from_dir, from, to_dir, to, flags);
}

HOOK int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char whole_from[PATH_MAX], whole_to[PATH_MAX];
    if (!ours(to_dir, to, whole_to)) return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, (long)flags);
    if (!ours(from_dir, from, whole_from)) unfollowed("link to a file without a name here");
    enter();
    int failed = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, (long)flags);
    if (!failed) append(LINK, 0, 0, whole_from, whole_to, strlen(whole_to));
    leave();
    return failed;
}

HOOK int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

HOOK int symlinkat(const char *target, int dir, const char *path) {
    char whole[PATH_MAX];
    if (ours(dir, path, whole)) unfollowed("symlink");
    return (int)syscall(SYS_symlinkat, target, dir, path);
}

HOOK int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

HOOK int unlinkat(int dir, const char *path, int flags) {
    char whole[PATH_MAX];
    if (!ours(dir, path, whole)) return (int)syscall(SYS_unlinkat, dir, path, (long)flags);
    enter();
    int failed = (int)syscall(SYS_unlinkat, dir, path, (long)flags);
    if (!failed) append(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, whole, NULL, 0);
    leave();
    return failed;
}

HOOK int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
HOOK int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

/* The C library's own goes past the hooks. */
HOOK int remove(const char *path) {
    int failed = unlinkat(AT_FDCWD, path, 0);
    return failed && errno == EISDIR ? rmdir(path) : failed;
}

HOOK int mkdirat(int dir, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    if (!ours(dir, path, whole)) return (int)syscall(SYS_mkdirat, dir, path, (long)mode);
    enter();
    int failed = (int)syscall(SYS_mkdirat, dir, path, (long)mode);
    if (!failed) {
        struct stat stat;
        if (fstatat(AT_FDCWD, whole, &stat, 0)) die("look at a new folder");
        append(MKDIR, stat.st_ino, 0, whole, NULL, 0);
    }
    leave();
    return failed;
}

HOOK int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
