/*
 * Feeds files to a fuzz target in builds without libFuzzer, so that what fuzzing once found is
 * checked by every compiler and preset.
 *
 * Arguments are files or folders; a folder that does not exist is an empty corpus. The empty
 * input always runs. The inputs' number is printed; a finding ends the process by itself.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    /* Exactly as large as the input: the sanitizers then see any read past its end. */
    uint8_t *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot read %zu bytes\n", path, size);
        free(data);
        fclose(file);
        return -1;
    }
    fclose(file);
    /* Named before it runs: after a crash nobody else can tell which input it was. */
    fprintf(stderr, "replay %s\n", path);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

/* Returns the number of inputs run, or -1. */
static int replay_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        if (errno == ENOENT)
            return 0;
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    if (S_ISREG(st.st_mode))
        return replay_file(path, (size_t)st.st_size);
    if (!S_ISDIR(st.st_mode))
        return 0;

    struct dirent **entries;
    int entry_count = scandir(path, &entries, NULL, alphasort);
    if (entry_count < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    int total = 0;
    for (int i = 0; i < entry_count; i++) {
        if (total >= 0 && entries[i]->d_name[0] != '.') {
            char child[4096];
            snprintf(child, sizeof(child), "%s/%s", path, entries[i]->d_name);
            int count = replay_path(child);
            total = count < 0 ? -1 : total + count;
        }
        free(entries[i]);
    }
    free(entries);
    return total;
}

int main(int argc, char **argv)
{
    static const uint8_t empty;
    (void)LLVMFuzzerTestOneInput(&empty, 0);

    int total = 1;
    for (int i = 1; i < argc; i++) {
        int count = replay_path(argv[i]);
        if (count < 0)
            return 1;
        total += count;
    }
    printf("%d inputs\n", total);
    return 0;
}
