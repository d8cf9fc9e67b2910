// Preloaded into a program: while the file that HAZARD_FULL_DISK names is there, no file of the program's grows, as on a
// disk without space. What is there already is overwritten as ever.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_refused(int fd, off_t end) {
    const char *marker = getenv("HAZARD_FULL_DISK");
    int before = errno;
    struct stat file;
    int is_full = marker && access(marker, F_OK) == 0;
    int refused = is_full && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && end > file.st_size;
    errno = refused ? ENOSPC : before;
    return refused;
}

static off_t length(const struct iovec *pieces, int count) {
    off_t sum = 0;
    for (int each = 0; each < count; each++) sum += pieces[each].iov_len;
    return sum;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t start) {
    return is_refused(fd, start + size) ? -1 : REAL(pwrite)(fd, data, size, start);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t start) {
    return is_refused(fd, start + size) ? -1 : REAL(pwrite64)(fd, data, size, start);
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t start) {
    return is_refused(fd, start + length(pieces, count)) ? -1 : REAL(pwritev)(fd, pieces, count, start);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t start) {
    return is_refused(fd, start + length(pieces, count)) ? -1 : REAL(pwritev64)(fd, pieces, count, start);
}

int posix_fallocate(int fd, off_t start, off_t size) {
    return is_refused(fd, start + size) ? ENOSPC : REAL(posix_fallocate)(fd, start, size);
}

int posix_fallocate64(int fd, off64_t start, off64_t size) {
    return is_refused(fd, start + size) ? ENOSPC : REAL(posix_fallocate64)(fd, start, size);
}
