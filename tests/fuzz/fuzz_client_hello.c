/* Whatever a client says first, a listener's handshake ends or waits; it never succeeds, and it takes nothing with it.
 *
 * The input's first byte is the size of a piece (0: all at once), the rest is what the client says. The server is a whole one: names,
 * ALPN, tickets, a request for a certificate. */
#include "event/event.h"
#include "gateway/tls_server.h"

#include <openssl/err.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* For nothing but this. */
static const char certificate[] = "-----BEGIN CERTIFICATE-----\n"
                                  "MIIBojCCAUigAwIBAgIUC8SgO4tICCsB/y+O/9CbbyOw8KUwCgYIKoZIzj0EAwIw\n"
                                  "FDESMBAGA1UEAwwJZnV6ei50ZXN0MCAXDTI2MTEyOTExMjgyOVoYDzIxMjYxMTA1\n"
                                  "MTEyODI5WjAUMRIwEAYDVQQDDAlmdXp6LnRlc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
                                  "PQMBBwNCAARP8rR/57bdAjW0O/iJhX8DAnlEgrTkeS1MRQaU3qqrhN3eU1WTGNZM\n"
                                  "nSC1eg2DTLEOsaI2SJHUuX5WyFO0MDB0o3YwdDAdBgNVHQ4EFgQUo27uxG4cikaj\n"
                                  "rHI6GaYI9tSo0igwHwYDVR0jBBgwFoAUo27uxG4cikajrHI6GaYI9tSo0igwDwYD\n"
                                  "VR0TAQH/BAUwAwEB/zAhBgNVHREEGjAYgglmdXp6LnRlc3SCCyouZnV6ei50ZXN0\n"
                                  "MAoGCCqGSM49BAMCA0gAMEUCIQDfkbh0zLXqgaF9HHAHAjlqeF5bjI41v1AX20Uq\n"
                                  "Iw8NYQIgBtYbH91IDwX+43XZeSN+tcxrdIESLzXWDGk5u5PAWLg=\n"
                                  "-----END CERTIFICATE-----\n";
static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg3s/kT2iXeel6aBsS\n"
                          "9XfNCim7q8+qwYD34u0aTSonrTKhRANCAARP8rR/57bdAjW0O/iJhX8DAnlEgrTk\n"
                          "eS1MRQaU3qqrhN3eU1WTGNZMnSC1eg2DTLEOsaI2SJHUuX5WyFO0MDB0\n"
                          "-----END PRIVATE KEY-----\n";

static struct loop loop;
static struct ticket_ring ring;
static struct tls_server *server;

/* The server reads files. */
static struct slice file_of(const char *text, char path[32])
{
    int file = memfd_create("file", MFD_CLOEXEC);
    size_t length = strlen(text);
    PROMISE(file >= 0 && write(file, text, length) == (ssize_t)length);
    snprintf(path, 32, "/proc/self/fd/%d", file);
    return slice_from_cstring(path);
}

static void start(void)
{
    static char certificate_path[32], key_path[32], ca_path[32];
    struct error error;
    struct problems problems;
    problems_init(&problems, "fuzz");
    struct certificate_config config = { .certificate = file_of(certificate, certificate_path),
                                         .key = file_of(key, key_path) };
    struct listener_config listener = { .address_text = SLICE("fuzz"),
                                        .has_tls = true,
                                        .tls = { .certificates = { &config, 1 },
                                                 .client_auth = CLIENT_AUTH_OPTIONAL,
                                                 .client_ca = file_of(certificate, ca_path) } };
    ticket_ring_init(&ring, 0);
    server = tls_server_create(&listener, &(struct stored_certificates){ NULL, 0 }, &ring, &problems);
    PROMISE(server && loop_init(&loop, &error));
    problems_release(&problems);
}

struct client {
    struct stream stream;
    enum stream_result result;
};

static void go_on(struct stream *stream)
{
    struct client *client = CONTAINER_OF(stream, struct client, stream);
    struct error error = { 0 };
    if (client->result != STREAM_WAIT) return;
    client->result = stream_handshake(stream, &error);
    PROMISE(client->result == STREAM_WAIT || client->result == STREAM_FAIL);
    PROMISE(client->result == STREAM_WAIT || (error.reason && error.text[0] && error.blame == BLAME_CLIENT));
    PROMISE(ERR_peek_error() == 0);
}

static void say(struct client *client, int wire, const uint8_t *bytes, size_t length)
{
    while (length > 0 && client->result == STREAM_WAIT) {
        ssize_t sent = send(wire, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        loop_turn(&loop, 0);
        if (sent <= 0) continue; /* the server reads on, a share a turn */
        bytes += sent;
        length -= (size_t)sent;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    int ends[2];
    struct client client = { .result = STREAM_WAIT };
    struct error error;
    if (length == 0) return 0;
    if (!server) start();
    PROMISE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    PROMISE(stream_open(&client.stream, &loop, ends[0], false, go_on, &error));
    stream_set_tls(&client.stream, tls_session_create(tls_server_context(server), TLS_SERVER));
    size_t piece = bytes[0] ? bytes[0] : length;
    for (size_t at = 1; at < length; at += piece)
        say(&client, ends[1], bytes + at, length - at < piece ? length - at : piece);
    shutdown(ends[1], SHUT_WR);
    for (int i = 0; i < 8 && client.result == STREAM_WAIT; i++) loop_turn(&loop, 0);
    PROMISE(client.result == STREAM_FAIL);
    stream_close(&client.stream, false);
    close(ends[1]);
    loop_turn(&loop, 0);
    return 0;
}
