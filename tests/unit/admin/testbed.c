#include "admin/testbed.h"

#include <openssl/evp.h>

static struct admin_settings *settings_of(void *argument)
{
    struct admin_testbed *bed = argument;
    atomic_fetch_add(&bed->settings->references, 1);
    return bed->settings;
}

static void health_of(void *argument, struct admin_health *health)
{
    *health = ((struct admin_testbed *)argument)->health;
}

static char *instances_of(void *argument, struct slice service_id)
{
    const char *text = ((struct admin_testbed *)argument)->instances;
    return text ? memory_copy_slice(slice_from_cstring(text)) : NULL;
}

static struct admin_token make_token(const char *name, const char *text, enum admin_role role)
{
    struct admin_token token = { .name = memory_copy_slice(slice_from_cstring(name)), .role = role };
    assert_int_equal(EVP_Digest(text, strlen(text), token.hash, NULL, EVP_sha256(), NULL), 1);
    return token;
}

static struct admin_settings *make_settings(void)
{
    struct admin_settings *settings = memory_allocate(sizeof *settings);
    atomic_init(&settings->references, 1);
    settings->tokens = memory_allocate_array(2, sizeof *settings->tokens);
    settings->tokens[0] = make_token("alice", "rw", ADMIN_ADMIN);
    settings->tokens[1] = make_token("bob", "ro", ADMIN_READ_ONLY);
    settings->token_count = 2;
    settings->hosts = memory_allocate_array(1, sizeof *settings->hosts);
    settings->hosts[0] = memory_copy_slice(SLICE("example.com"));
    settings->host_count = 1;
    return settings;
}

void admin_testbed_start(struct admin_testbed *bed) { admin_testbed_start_patient(bed, 30000); }

void admin_testbed_start_patient(struct admin_testbed *bed, unsigned timeout_ms)
{
    char text[128];
    memset(bed, 0, sizeof *bed);
    snprintf(text, sizeof text, "routes: [{ name: admin, path: /*, respond: { status: 404 }, timeoutMs: %u }]\n",
             timeout_ms);
    testbed_start_with(&bed->bed, &admin_registry, text);
    bed->kinds = policy_registry_kinds(&(struct policy_registry){ .filters = test_filters_with_all() });
    bed->changes = changes_double_create(&bed->kinds);
    bed->settings = make_settings();
    bed->health = (struct admin_health){ .is_serving = true, .workers = 2, .workers_alive = 2, .routes = 3 };
    bed->surroundings = (struct admin_surroundings){
        .metrics = bed->bed.metrics,
        .changes = bed->changes,
        .kinds = &bed->kinds,
        .settings = settings_of,
        .health = health_of,
        .instances = instances_of,
        .argument = bed,
    };
    bed->bed.worker.admin = &bed->surroundings;
}

void admin_testbed_stop(struct admin_testbed *bed)
{
    if (bed->has_asked) client_release(&bed->client);
    testbed_stop(&bed->bed);
    assert_int_equal(bed->surroundings.body_bytes, 0);
    admin_surroundings_release(&bed->surroundings);
    changes_double_destroy(bed->changes);
    assert_int_equal(atomic_load(&bed->settings->references), 1);
    admin_settings_drop(bed->settings);
    free((void *)(uintptr_t)bed->kinds.items);
}

unsigned ask(struct admin_testbed *bed, const char *line, const char *fields, const char *body)
{
    if (bed->has_asked) client_release(&bed->client);
    bed->client = (struct client){ .host = bed->client.host };
    bed->has_asked = true;
    client_ask(&bed->bed, &bed->client, line, fields, body);
    testbed_run_until(&bed->bed, &bed->client.released);
    return bed->client.status;
}

bool answer_has(const struct admin_testbed *bed, const char *text)
{
    return bed->client.body && strstr(bed->client.body, text);
}
