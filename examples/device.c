/* A device in C, with libcurl: create, use, resize, give back.
 *
 *     cc -Wall -Wextra -o device device.c -lcurl
 *
 * ENGINE, ENGINE_USER and ENGINE_PASSWORD say where the engine is and who calls it; without them
 * it is the sandbox of docs/getting-started.md.
 *
 * No runtime is left behind: a lost response is repeated with the same key, SIGTERM and Ctrl-C
 * give the runtime back, and if the device dies altogether, the lease ends the runtime.
 *
 * The few members that are needed are cut out of the responses by hand; a larger program uses a
 * JSON library.
 */
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    RESPONSE_BYTES = 30000, /* no response about one runtime is longer, nor is an error */
    RESPONSE_SECONDS = 60,
    START_SECONDS = 300,
    TRIES = 5
};

struct response {
    long status; /* 0 if there was none */
    size_t length;
    char text[RESPONSE_BYTES + 1];
};

/* The signal that told the device to stop, or 0. Only waiting is interrupted by it. */
static volatile sig_atomic_t stopped;

static void stop(int number)
{
    stopped = number;
}

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static size_t receive(char *data, size_t size, size_t count, void *into)
{
    struct response *response = into;
    size_t bytes = size * count;
    if (bytes > RESPONSE_BYTES - response->length)
        return 0; /* libcurl then aborts the transfer */
    memcpy(response->text + response->length, data, bytes);
    response->length += bytes;
    response->text[response->length] = '\0';
    return bytes;
}

/* libcurl calls this about once a second; anything but 0 aborts the transfer. */
static int is_over(void *unused, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)unused, (void)a, (void)b, (void)c, (void)d;
    return stopped != 0;
}

/* Whether the engine may have carried out the request without its response arriving: 502 and 504 are
 * of a proxy, which got none. */
static int was_lost(const struct response *response)
{
    return response->status == 0 || response->status == 502 || response->status == 504;
}

/* One exchange; the seconds after which to try again, 0 if it succeeded, -1 if it failed. */
static long exchange(CURL *curl, struct response *response)
{
    response->status = 0;
    response->length = 0;
    response->text[0] = '\0';
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        snprintf(response->text, sizeof response->text, "no response: %s",
                 curl_easy_strerror(code));
        return code == CURLE_ABORTED_BY_CALLBACK || code == CURLE_WRITE_ERROR ? -1 : 1;
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &response->status);
    if (response->status / 100 == 2)
        return 0;
    if (response->status == 423 || response->status == 429 || response->status == 503 ||
        was_lost(response)) {
        curl_off_t seconds = 0;
        curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
        return seconds > 0 ? (long)seconds : 1;
    }
    return -1;
}

/* The same, repeated if the engine is busy or a response is lost; 0 if it succeeded. */
static int repeat(CURL *curl, int is_delete, struct response *response)
{
    int is_lost = 0;
    for (int tries = 1;; tries++) {
        long pause_seconds = exchange(curl, response);
        if (pause_seconds == 0)
            return 0;
        if (is_lost && is_delete && response->status == 404)
            return 0; /* the request before this one deleted it */
        if (pause_seconds < 0 || tries == TRIES)
            break;
        is_lost |= was_lost(response);
        sleep((unsigned)pause_seconds);
    }
    if (!stopped || response->status)
        fprintf(stderr, "device: %ld: %s\n", response->status, response->text);
    return -1;
}

/* One request; 0 if it succeeded. Body and key may be NULL: with a key a repeated create makes no
 * second runtime. */
static int call(const char *method, const char *path, const char *body, const char *key,
                struct response *response)
{
    CURL *curl = curl_easy_init();
    if (!curl)
        return -1;
    char url[512], header[128];
    snprintf(url, sizeof url, "%s%s", setting("ENGINE", "http://127.0.0.1:1337"), path);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (key) {
        snprintf(header, sizeof header, "Idempotency-Key: %s", key);
        headers = curl_slist_append(headers, header);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_USERNAME, setting("ENGINE_USER", "devuser"));
    curl_easy_setopt(curl, CURLOPT_PASSWORD, setting("ENGINE_PASSWORD", "devpass"));
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)RESPONSE_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, response);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_over);
    /* Neither a create nor a delete is interrupted: one tells the id, the other gives it back. */
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, strcmp(method, "GET") ? 1L : 0L);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    int failed = repeat(curl, !strcmp(method, "DELETE"), response);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return failed;
}

/* Copies the text or number of the first member of that name; empty if there is none. */
static const char *member(const struct response *response, const char *name, char *value,
                          size_t size)
{
    char pattern[40];
    size_t length = 0;
    snprintf(pattern, sizeof pattern, "\"%s\":", name);
    const char *at = strstr(response->text, pattern);
    if (at) {
        at += strlen(pattern);
        at += strspn(at, " ");
        const char *ends = *at == '"' ? "\"" : ",}";
        if (*at == '"')
            at++;
        length = strcspn(at, ends);
        if (length >= size)
            length = size - 1;
        memcpy(value, at, length);
    }
    value[length] = '\0';
    return value;
}

/* 0 once the function is running. The engine holds each response while it starts, for at most 20
 * seconds. */
static int wait_until_running(const char *path, struct response *response)
{
    char waiting[128], text[1100];
    time_t until = time(NULL) + START_SECONDS;
    snprintf(waiting, sizeof waiting, "%s?wait=20", path);
    while (time(NULL) < until && !stopped) {
        if (call("GET", waiting, NULL, NULL, response))
            return -1;
        member(response, "STATE", text, sizeof text);
        if (!strcmp(text, "RUNNING"))
            return 0;
        if (!strcmp(text, "ERROR")) {
            fprintf(stderr, "device: %s\n", member(response, "ERROR", text, sizeof text));
            return -1;
        }
    }
    if (!stopped)
        fprintf(stderr, "device: not running after %d seconds\n", START_SECONDS);
    return -1;
}

static int use(const char *path, struct response *response)
{
    char text[64];
    if (wait_until_running(path, response) || stopped)
        return -1;
    printf("RUNNING at %s\n", member(response, "ENDPOINT", text, sizeof text));
    /* Here the device would use its function, at that address. If it works for longer than the
     * lease, it sends LEASE again, in a PUT, before the time is over. */
    if (call("PUT", path, "{\"SERVERLESS_RUNTIME\": {\"FAAS\": {\"CPU\": 2}}}", NULL, response))
        return -1;
    printf("resized to %s cores\n", member(response, "CPU", text, sizeof text));
    return 0;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int main(void)
{
    static struct response response;
    char id[16], key[64], path[64];
    struct timespec now;

    setvbuf(stdout, NULL, _IOLBF, 0);
    catch_signals();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    /* A device that may restart half-way keeps the key until it has the id. */
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(key, sizeof key, "device-%ld-%ld-%ld", (long)getpid(), (long)now.tv_sec, now.tv_nsec);
    if (call("POST", "/serverless-runtimes",
             "{\"SERVERLESS_RUNTIME\": {\"FAAS\": {\"FLAVOUR\": \"nature\", \"CPU\": 1,"
             " \"MEMORY\": 512, \"DISK_SIZE\": 1024}, \"LEASE\": {\"TTL\": 900}}}",
             key, &response))
        return EXIT_FAILURE;
    member(&response, "ID", id, sizeof id);
    snprintf(path, sizeof path, "/serverless-runtimes/%s", id);
    printf("created runtime %s\n", id);

    int failed = use(path, &response);
    if (call("DELETE", path, NULL, NULL, &response))
        failed = -1;
    else
        printf("deleted\n");
    curl_global_cleanup();
    if (stopped)
        fprintf(stderr, "device: stopped by signal %d\n", (int)stopped);
    return stopped ? 128 + stopped : failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
