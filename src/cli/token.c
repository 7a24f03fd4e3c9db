/* cli/token.c: `sluice token [NAME]`: a new bearer token for the admin API, and what goes into the configuration of it: its hash alone. */
#include "base/memory.h"
#include "cli/private.h"
#include "keys/api_keys.h"

int command_token(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    char token[44];
    uint8_t hash[API_KEY_HASH_BYTES];
    const char *name = line->file ? line->file : "me", *role = line->role ? line->role : "admin";
    if (strcmp(role, "admin") != 0 && strcmp(role, "read-only") != 0) {
        fprintf(stderr, "sluice: --role %s: admin or read-only\n", role);
        return 2;
    }
    if (!api_key_generate(token)) {
        fprintf(stderr, "sluice: the system gives no random numbers\n");
        return 1;
    }
    api_key_hash(slice_from_cstring(token), hash);
    printf("token: %s\n", token);
    printf(
        "  (shown this once; clients send it as \"Authorization: Bearer ...\", commands read it from SLUICE_TOKEN)\n");
    printf("admin:\n  tokens:\n    - { name: \"%s\", role: %s, hash: \"sha256:", name, role);
    for (size_t i = 0; i < sizeof hash; i++) printf("%02x", hash[i]);
    printf("\" }\n");
    return 0;
}
