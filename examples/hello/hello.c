/* Greets whom the command line names, and says which machine the kernel claims to be. */
#include <stdio.h>
#include <sys/utsname.h>

int main(int argc, char **argv) {
    struct utsname host;
    if (uname(&host) != 0) {
        perror("uname");
        return 1;
    }
    printf("Hello, %s, from %s!\n", argc > 1 ? argv[1] : "world", host.machine);
    return 0;
}
