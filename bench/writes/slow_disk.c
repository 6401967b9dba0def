/* A disk that takes two milliseconds longer to flush while the file $SLOW_DISK is there: for LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int file)
{
    static int (*flush)(int);
    const char *slow = getenv("SLOW_DISK");

    if (!flush)
        flush = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    if (slow && access(slow, F_OK) == 0)
        usleep(2000);
    return flush(file);
}
