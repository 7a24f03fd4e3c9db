/* cli/admin_client.c: see admin_client.h. */
#include "cli/admin_client.h"

#include "base/library.h"
#include "base/memory.h"

#define CURL_DISABLE_TYPECHECK /* its macros call functions by their names */
#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_ADDRESS "http://127.0.0.1:9080"
#define CONNECT_SECONDS 5L
#define ANSWER_SECONDS 130L /* the admin API's own limit, and a little more */
#define ANSWER_BYTES_MAX (256u << 20)

/* Loaded here and not linked: a gateway calls nobody through it. */
static struct {
    __typeof__(curl_easy_init) *curl_easy_init;
    __typeof__(curl_easy_setopt) *curl_easy_setopt;
    __typeof__(curl_easy_perform) *curl_easy_perform;
    __typeof__(curl_easy_getinfo) *curl_easy_getinfo;
    __typeof__(curl_easy_strerror) *curl_easy_strerror;
    __typeof__(curl_easy_cleanup) *curl_easy_cleanup;
    __typeof__(curl_slist_append) *curl_slist_append;
    __typeof__(curl_slist_free_all) *curl_slist_free_all;
} libcurl;

static bool load_libcurl(void)
{
    const struct library_function functions[] = {
        { "curl_easy_init", &libcurl.curl_easy_init },         { "curl_easy_setopt", &libcurl.curl_easy_setopt },
        { "curl_easy_perform", &libcurl.curl_easy_perform },   { "curl_easy_getinfo", &libcurl.curl_easy_getinfo },
        { "curl_easy_strerror", &libcurl.curl_easy_strerror }, { "curl_easy_cleanup", &libcurl.curl_easy_cleanup },
        { "curl_slist_append", &libcurl.curl_slist_append },   { "curl_slist_free_all", &libcurl.curl_slist_free_all },
    };
    struct error error;
    if (library_load("libcurl.so.4", functions, COUNT_OF(functions), &error)) return true;
    fprintf(stderr, "sluice: the admin API can't be called without libcurl (Debian: libcurl4): %s\n", error.text);
    return false;
}

static size_t take_body(const char *at, size_t one, size_t count, void *argument)
{
    struct admin_reply *reply = argument;
    size_t length = one * count;
    if (reply->length + length > ANSWER_BYTES_MAX) return 0;
    reply->body = memory_resize(reply->body, reply->length + length + 1);
    memcpy(reply->body + reply->length, at, length);
    reply->length += length;
    reply->body[reply->length] = '\0';
    return length;
}

static size_t take_header(const char *at, size_t one, size_t count, void *argument)
{
    struct admin_reply *reply = argument;
    struct slice line = slice_of(at, one * count), rest = slice_before(line, slice_find_byte(line, '\r'));
    struct slice name = SLICE("sluice-revision:");
    if (slice_equal_ignore_case(slice_before(rest, name.length), name)) {
        free(reply->revision);
        reply->revision = memory_copy_slice(slice_trim(slice_after(rest, name.length)));
    }
    return line.length;
}

static const char *address_of(const struct admin_request *request)
{
    if (request->address) return request->address;
    const char *address = getenv("SLUICE_ADMIN");
    return address && *address ? address : DEFAULT_ADDRESS;
}

/* "127.0.0.1:9080" is meant as http. */
static char *url_of(const struct admin_request *request)
{
    const char *address = address_of(request);
    size_t length = strlen(address);
    while (length > 0 && address[length - 1] == '/') length--;
    return memory_format("%s%.*s%s", strstr(address, "://") ? "" : "http://", (int)length, address, request->path);
}

static struct curl_slist *headers_of(const struct admin_request *request)
{
    const char *token = getenv("SLUICE_TOKEN");
    struct curl_slist *headers = libcurl.curl_slist_append(NULL, "Accept: application/json");
    headers = libcurl.curl_slist_append(headers, "Expect:");
    if (!slice_is_absent(request->body)) {
        headers = libcurl.curl_slist_append(headers, strcmp(request->method, "PATCH") == 0
                                                         ? "Content-Type: application/merge-patch+json"
                                                         : "Content-Type: application/json");
    }
    if (token && *token) {
        char *line = memory_format("Authorization: Bearer %s", token);
        headers = libcurl.curl_slist_append(headers, line);
        free(line);
    }
    if (request->if_match) {
        char *line = memory_format("If-Match: %s", request->if_match);
        headers = libcurl.curl_slist_append(headers, line);
        free(line);
    }
    return headers;
}

static void say_unreachable(const struct admin_request *request, CURLcode code, const char *details)
{
    fprintf(stderr, "sluice: no answer from %s: %s\n", address_of(request),
            *details ? details : libcurl.curl_easy_strerror(code));
    if (code == CURLE_COULDNT_CONNECT)
        fprintf(stderr, "        (is Sluice running, with an admin listener? say where by --admin or SLUICE_ADMIN)\n");
}

bool admin_call(const struct admin_request *request, struct admin_reply *reply)
{
    char details[CURL_ERROR_SIZE] = "";
    *reply = (struct admin_reply){ .body = memory_copy_slice(SLICE("")), .revision = memory_copy_slice(SLICE("")) };
    if (!load_libcurl()) return false;
    CURL *curl = libcurl.curl_easy_init();
    PROMISE(curl != NULL);
    char *url = url_of(request);
    struct curl_slist *headers = headers_of(request);
    libcurl.curl_easy_setopt(curl, CURLOPT_URL, url);
    libcurl.curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    libcurl.curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* the admin API is never asked for through somebody else */
    libcurl.curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    libcurl.curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    libcurl.curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
    libcurl.curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    libcurl.curl_easy_setopt(curl, CURLOPT_TIMEOUT, ANSWER_SECONDS);
    libcurl.curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    libcurl.curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    libcurl.curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    libcurl.curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    libcurl.curl_easy_setopt(curl, CURLOPT_HEADERDATA, reply);
    const char *authorities = getenv("SLUICE_ADMIN_CA");
    if (authorities && *authorities) libcurl.curl_easy_setopt(curl, CURLOPT_CAINFO, authorities);
    if (!slice_is_absent(request->body)) {
        libcurl.curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.length);
        libcurl.curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.at);
    }
    CURLcode code = libcurl.curl_easy_perform(curl);
    if (code == CURLE_OK)
        libcurl.curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    else
        say_unreachable(request, code, details);
    libcurl.curl_slist_free_all(headers);
    libcurl.curl_easy_cleanup(curl);
    free(url);
    return code == CURLE_OK;
}

void admin_reply_release(struct admin_reply *reply)
{
    free(reply->body);
    free(reply->revision);
    *reply = (struct admin_reply){ 0 };
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* "GET /admin/routes lists ..." as "`sluice routes` lists ...". Takes the text over; the caller's. */
static char *name_command(char *said)
{
    static const char get[] = "GET /admin/";
    char *found = strstr(said, get);
    if (!found) return said;
    const char *kind = found + sizeof get - 1;
    size_t length = strcspn(kind, " ");
    char *ours = memory_format("%.*s`sluice %.*s`%s", (int)(found - said), said, (int)length, kind, kind + length);
    free(said);
    return ours;
}

/* Of a REST API's words those of the command line. */
static char *in_our_words(const char *text)
{
    static const char *const words[][2] = {
        { "?cascade=true", "--cascade" },
        { "PUT or PATCH the one that has it", "update the one that has it" },
        { "send its ETag back as If-Match; where it is new, If-None-Match: *", "say its ETag by --if-match" },
        { "is not what If-Match says", "is not what --if-match says" },
    };
    char *said = memory_copy_slice(slice_from_cstring(text));
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        const char *found = strstr(said, words[i][0]);
        if (!found) continue;
        char *ours = memory_format("%.*s%s%s", (int)(found - said), said, words[i][1], found + strlen(words[i][0]));
        free(said);
        said = ours;
    }
    return name_command(said);
}

static void print_errors(const json_t *errors)
{
    size_t index;
    const json_t *error;
    json_array_foreach(errors, index, error)
    {
        const char *pointer = text_of(error, "pointer"), *hint = text_of(error, "hint");
        fprintf(stderr, *hint ? "  %s: %s (%s)\n" : "  %s: %s\n", *pointer ? pointer : "/", text_of(error, "message"),
                hint);
    }
}

/* Who stands in the way, and what can be done about it. */
static void print_users(const json_t *users)
{
    size_t index;
    const json_t *user;
    json_array_foreach(users, index, user)
        fprintf(stderr, "  used by %s %s\n", text_of(user, "kind"), text_of(user, "name"));
}

void admin_print_problem(const struct admin_reply *reply)
{
    json_t *problem = json_loadb(reply->body, reply->length, 0, NULL);
    const char *title = text_of(problem, "title");
    char *detail = in_our_words(text_of(problem, "detail")), *hint = in_our_words(text_of(problem, "hint"));
    if (*detail || *title)
        fprintf(stderr, "sluice: %s (%ld)\n", *detail ? detail : title, reply->status);
    else
        fprintf(stderr, "sluice: the answer was %ld, and no more words\n", reply->status);
    print_errors(json_object_get(problem, "errors"));
    print_users(json_object_get(problem, "users"));
    if (*hint) fprintf(stderr, "  (%s)\n", hint);
    if (reply->status == 401) fprintf(stderr, "  (a token is read from SLUICE_TOKEN)\n");
    free(hint);
    free(detail);
    json_decref(problem);
}

bool admin_call_good(const struct admin_request *request, struct admin_reply *reply)
{
    if (admin_call(request, reply)) {
        if (reply->status >= 200 && reply->status < 300) return true;
        admin_print_problem(reply);
    }
    admin_reply_release(reply);
    return false;
}

char *admin_encode(const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    char *encoded = memory_allocate(3 * strlen(text) + 1), *next = encoded;
    for (const char *at = text; *at; at++) {
        unsigned char byte = (unsigned char)*at;
        bool is_plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
                        (byte && strchr("-._~", byte));
        if (is_plain) {
            *next++ = (char)byte;
        } else {
            *next++ = '%';
            *next++ = digits[byte >> 4];
            *next++ = digits[byte & 15];
        }
    }
    return encoded;
}
