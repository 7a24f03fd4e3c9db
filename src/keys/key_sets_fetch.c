/* keys/key_sets_fetch.c: key sets over HTTP, several at a time, by libcurl's multi interface.
 *
 * Loaded when the first one is wanted and not linked, as by all who speak through it (base/library.h). Bounded in time, in bytes and in redirects, which
 * never lead from https to http; no cookies, no user from .netrc, no content coding. */
#include "base/clock.h"
#include "base/library.h"
#include "base/memory.h"
#include "keys/key_sets_private.h"

#define CURL_DISABLE_TYPECHECK /* its macros call functions by their names */
#include <curl/curl.h>

#define REDIRECTS_MAX 3L
#define HEADER_BYTES_MAX 512
#define NS_PER_SECOND UINT64_C(1000000000)

static struct {
    __typeof__(curl_global_init) *curl_global_init;
    __typeof__(curl_easy_init) *curl_easy_init;
    __typeof__(curl_easy_setopt) *curl_easy_setopt;
    __typeof__(curl_easy_getinfo) *curl_easy_getinfo;
    __typeof__(curl_easy_strerror) *curl_easy_strerror;
    __typeof__(curl_easy_cleanup) *curl_easy_cleanup;
    __typeof__(curl_slist_append) *curl_slist_append;
    __typeof__(curl_slist_free_all) *curl_slist_free_all;
    __typeof__(curl_multi_init) *curl_multi_init;
    __typeof__(curl_multi_cleanup) *curl_multi_cleanup;
    __typeof__(curl_multi_add_handle) *curl_multi_add_handle;
    __typeof__(curl_multi_remove_handle) *curl_multi_remove_handle;
    __typeof__(curl_multi_perform) *curl_multi_perform;
    __typeof__(curl_multi_info_read) *curl_multi_info_read;
    __typeof__(curl_multi_poll) *curl_multi_poll;
} libcurl;

static bool load_libcurl(struct error *error)
{
    const struct library_function functions[] = {
        { "curl_global_init", &libcurl.curl_global_init },
        { "curl_easy_init", &libcurl.curl_easy_init },
        { "curl_easy_setopt", &libcurl.curl_easy_setopt },
        { "curl_easy_getinfo", &libcurl.curl_easy_getinfo },
        { "curl_easy_strerror", &libcurl.curl_easy_strerror },
        { "curl_easy_cleanup", &libcurl.curl_easy_cleanup },
        { "curl_slist_append", &libcurl.curl_slist_append },
        { "curl_slist_free_all", &libcurl.curl_slist_free_all },
        { "curl_multi_init", &libcurl.curl_multi_init },
        { "curl_multi_cleanup", &libcurl.curl_multi_cleanup },
        { "curl_multi_add_handle", &libcurl.curl_multi_add_handle },
        { "curl_multi_remove_handle", &libcurl.curl_multi_remove_handle },
        { "curl_multi_perform", &libcurl.curl_multi_perform },
        { "curl_multi_info_read", &libcurl.curl_multi_info_read },
        { "curl_multi_poll", &libcurl.curl_multi_poll },
    };
    if (!library_load("libcurl.so.4", functions, COUNT_OF(functions), error)) {
        error_prefix(error, "libcurl is missing (Debian: libcurl4)");
        return false;
    }
    return libcurl.curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK || error_format(error, "libcurl does not begin");
}

/* --- the fetcher --- */

struct key_set_fetcher {
    CURLM *multi;
    int wake;
};

struct key_set_fetcher *key_set_fetcher_create(int wake, struct error *error)
{
    if (!load_libcurl(error)) return NULL;
    struct key_set_fetcher *fetcher = memory_allocate(sizeof *fetcher);
    fetcher->wake = wake;
    fetcher->multi = libcurl.curl_multi_init();
    PROMISE(fetcher->multi != NULL);
    return fetcher;
}

void key_set_fetcher_destroy(struct key_set_fetcher *fetcher)
{
    libcurl.curl_multi_cleanup(fetcher->multi);
    free(fetcher);
}

void key_set_fetcher_wait(struct key_set_fetcher *fetcher, int wait_ms)
{
    struct curl_waitfd wake = { .fd = fetcher->wake, .events = CURL_WAIT_POLLIN };
    libcurl.curl_multi_poll(fetcher->multi, &wake, 1, wait_ms, NULL);
}

/* --- one fetch --- */

struct header_value {
    char text[HEADER_BYTES_MAX];
    size_t length;
    bool is_there;
};

struct key_set_fetch {
    CURL *easy;
    struct curl_slist *headers;
    void *argument;
    char *body; /* grows up to KEY_SET_BYTES_MAX */
    size_t length, capacity;
    bool is_too_large;
    struct header_value cache_control, expires, date, age, etag;
    uint64_t asked_s;
    char details[CURL_ERROR_SIZE];
};

static size_t take_body(const char *at, size_t one, size_t count, void *argument)
{
    struct key_set_fetch *fetch = argument;
    size_t length = one * count;
    if (length > KEY_SET_BYTES_MAX - fetch->length) {
        fetch->is_too_large = true;
        return 0; /* which ends it */
    }
    if (fetch->length + length > fetch->capacity) {
        fetch->capacity = 2 * (fetch->length + length);
        fetch->body = memory_resize(fetch->body, fetch->capacity);
    }
    memcpy(fetch->body + fetch->length, at, length);
    fetch->length += length;
    return length;
}

/* The first of its name counts, but of Cache-Control all, as one list (RFC 9110 5.3). One that is too long is none. */
static void take_value(struct slice text, struct header_value *value, bool is_list)
{
    if (value->is_there && !is_list) return;
    if (!value->is_there) value->length = 0;
    if (text.length + 1 > sizeof value->text - value->length) return;
    if (value->is_there) value->text[value->length++] = ',';
    memcpy(value->text + value->length, text.at, text.length);
    value->length += text.length;
    value->is_there = true;
}

static size_t take_header(const char *at, size_t one, size_t count, void *argument)
{
    struct key_set_fetch *fetch = argument;
    const struct {
        struct slice name;
        struct header_value *value;
    } fields[] = {
        { SLICE("cache-control"), &fetch->cache_control },
        { SLICE("expires"), &fetch->expires },
        { SLICE("date"), &fetch->date },
        { SLICE("age"), &fetch->age },
        { SLICE("etag"), &fetch->etag },
    };
    struct slice line = slice_of(at, one * count), text = line;
    while (text.length > 0 && (text.at[text.length - 1] == '\n' || text.at[text.length - 1] == '\r')) text.length--;
    bool is_new = slice_starts_with(text, SLICE("HTTP/")); /* behind a redirect */
    struct slice name = slice_before(text, slice_find_byte(text, ':'));
    struct slice value = slice_trim(slice_after(text, name.length + 1));
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        if (is_new)
            fields[i].value->is_there = false;
        else if (name.length < text.length && slice_equal_ignore_case(name, fields[i].name))
            take_value(value, fields[i].value, fields[i].value == &fetch->cache_control);
    }
    return line.length;
}

static void add_header(struct key_set_fetch *fetch, const char *line)
{
    struct curl_slist *longer = libcurl.curl_slist_append(fetch->headers, line);
    PROMISE(longer != NULL);
    fetch->headers = longer;
}

static void set_limits(CURL *easy, const char *url)
{
    bool is_plain = strncmp(url, "http://", 7) == 0;
    libcurl.curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, is_plain ? "http,https" : "https");
    libcurl.curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, is_plain ? "http,https" : "https");
    libcurl.curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    libcurl.curl_easy_setopt(easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    libcurl.curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)KEY_SET_CONNECT_MS_MAX);
    libcurl.curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)KEY_SET_FETCH_MS_MAX);
    libcurl.curl_easy_setopt(easy, CURLOPT_MAXFILESIZE, (long)KEY_SET_BYTES_MAX);
    libcurl.curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
}

struct key_set_fetch *key_set_fetch_begin(struct key_set_fetcher *fetcher, const char *url, const char *authorities,
                                          const char *etag, void *argument, struct error *error)
{
    struct key_set_fetch *fetch = memory_allocate(sizeof *fetch);
    CURL *easy = fetch->easy = libcurl.curl_easy_init();
    PROMISE(easy != NULL);
    fetch->argument = argument;
    fetch->asked_s = clock_wall_ns() / NS_PER_SECOND;
    add_header(fetch, "Accept: application/jwk-set+json, application/json");
    if (*etag) {
        char *line = memory_format("If-None-Match: %s", etag);
        add_header(fetch, line);
        free(line);
    }
    set_limits(easy, url);
    libcurl.curl_easy_setopt(easy, CURLOPT_URL, url);
    libcurl.curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->headers);
    libcurl.curl_easy_setopt(easy, CURLOPT_USERAGENT, "sluice/" SLUICE_VERSION);
    libcurl.curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->details);
    libcurl.curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    libcurl.curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    libcurl.curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    libcurl.curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
    libcurl.curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
    if (authorities) libcurl.curl_easy_setopt(easy, CURLOPT_CAINFO, authorities);
    CURLMcode code = libcurl.curl_multi_add_handle(fetcher->multi, easy);
    if (code == CURLM_OK) return fetch;
    error_format(error, "libcurl refuses the fetch (%d)", (int)code);
    libcurl.curl_slist_free_all(fetch->headers);
    libcurl.curl_easy_cleanup(easy);
    free(fetch);
    return NULL;
}

void key_set_fetch_end(struct key_set_fetcher *fetcher, struct key_set_fetch *fetch)
{
    libcurl.curl_multi_remove_handle(fetcher->multi, fetch->easy);
    libcurl.curl_easy_cleanup(fetch->easy);
    libcurl.curl_slist_free_all(fetch->headers);
    free(fetch->body);
    free(fetch);
}

/* --- answers --- */

static struct slice value_of(const struct header_value *value)
{
    return value->is_there ? slice_of(value->text, value->length) : SLICE_ABSENT;
}

static void fill_answer(struct key_set_fetch *fetch, CURLcode code, struct key_set_answer *answer)
{
    const struct key_set_freshness freshness = {
        .cache_control = value_of(&fetch->cache_control),
        .expires = value_of(&fetch->expires),
        .date = value_of(&fetch->date),
        .age = value_of(&fetch->age),
        .asked_s = fetch->asked_s,
        .came_s = clock_wall_ns() / NS_PER_SECOND,
    };
    *answer = (struct key_set_answer){
        .body = slice_of(fetch->body ? fetch->body : "", fetch->length),
        .etag = value_of(&fetch->etag),
        .lifetime_ms = key_set_lifetime_ms(&freshness),
        .age_ms = key_set_age_ms(&freshness),
    };
    if (code == CURLE_OK)
        libcurl.curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    else if (fetch->is_too_large || code == CURLE_FILESIZE_EXCEEDED)
        answer->failure = "the answer is larger than 512 KiB";
    else
        answer->failure = fetch->details[0] ? fetch->details : libcurl.curl_easy_strerror(code);
}

void *key_set_fetcher_next(struct key_set_fetcher *fetcher, struct key_set_answer *answer)
{
    int running, left;
    libcurl.curl_multi_perform(fetcher->multi, &running);
    for (CURLMsg *message = libcurl.curl_multi_info_read(fetcher->multi, &left); message;
         message = libcurl.curl_multi_info_read(fetcher->multi, &left)) {
        struct key_set_fetch *fetch = NULL;
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        libcurl.curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &fetch);
        fill_answer(fetch, code, answer);
        return fetch->argument;
    }
    return NULL;
}
