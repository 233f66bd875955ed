/* A device in C, with libcurl: create, use, resize, give back.
 *
 *     cc -Wall -Wextra -o device device.c -lcurl
 *
 * ENGINE, ENGINE_USER and ENGINE_PASSWORD say where the engine is and who asks; without them it
 * is the sandbox of docs/getting-started.md. The few members that are needed are cut out of the
 * answers by hand; a larger program takes a JSON library.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_BYTES = 30000, /* no answer about one runtime is longer, nor is an error */
    ANSWER_SECONDS = 60,
    START_SECONDS = 300,
    TRIES = 5
};

struct answer {
    long status;
    size_t length;
    char text[ANSWER_BYTES + 1];
};

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static size_t receive(char *data, size_t size, size_t count, void *into)
{
    struct answer *answer = into;
    size_t bytes = size * count;
    if (bytes > ANSWER_BYTES - answer->length)
        return 0; /* libcurl then breaks the transfer off */
    memcpy(answer->text + answer->length, data, bytes);
    answer->length += bytes;
    answer->text[answer->length] = '\0';
    return bytes;
}

/* One exchange; how many seconds to wait before the same again, 0 when it is done, -1 if it
 * failed. */
static long exchange(CURL *curl, struct answer *answer)
{
    answer->length = 0;
    answer->text[0] = '\0';
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        fprintf(stderr, "device: no answer: %s\n", curl_easy_strerror(code));
        return -1;
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    if (answer->status / 100 == 2)
        return 0;
    if (answer->status == 423 || answer->status == 429 || answer->status == 503) {
        curl_off_t seconds = 0;
        curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
        return seconds > 0 ? (long)seconds : 1;
    }
    fprintf(stderr, "device: %ld: %s\n", answer->status, answer->text);
    return -1;
}

/* One request, repeated when the engine says that it is busy; 0 when it is done. Body and key
 * may be NULL. With a key a repeated create makes no second runtime. */
static int call(const char *method, const char *path, const char *body, const char *key,
                struct answer *answer)
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
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)ANSWER_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    long pause_seconds = exchange(curl, answer);
    for (int tries = 1; pause_seconds > 0 && tries < TRIES; tries++) {
        sleep((unsigned)pause_seconds);
        pause_seconds = exchange(curl, answer);
    }
    if (pause_seconds > 0)
        fprintf(stderr, "device: busy: %s\n", answer->text);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return pause_seconds == 0 ? 0 : -1;
}

/* Copies the text or number of the first member of that name; empty if there is none. */
static const char *member(const struct answer *answer, const char *name, char *value, size_t size)
{
    char pattern[40];
    size_t length = 0;
    snprintf(pattern, sizeof pattern, "\"%s\":", name);
    const char *at = strstr(answer->text, pattern);
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

/* 0 when the function runs. The engine holds each answer until something changed, for at most 20
 * seconds. */
static int wait_until_running(const char *path, struct answer *answer)
{
    char waiting[128], text[1100];
    time_t until = time(NULL) + START_SECONDS;
    snprintf(waiting, sizeof waiting, "%s?wait=20", path);
    while (time(NULL) < until) {
        if (call("GET", waiting, NULL, NULL, answer))
            return -1;
        member(answer, "STATE", text, sizeof text);
        if (!strcmp(text, "RUNNING"))
            return 0;
        if (!strcmp(text, "ERROR")) {
            fprintf(stderr, "device: %s\n", member(answer, "ERROR", text, sizeof text));
            return -1;
        }
    }
    fprintf(stderr, "device: not running after %d seconds\n", START_SECONDS);
    return -1;
}

static int use(const char *path, struct answer *answer)
{
    char text[64];
    if (wait_until_running(path, answer))
        return -1;
    printf("RUNNING at %s\n", member(answer, "ENDPOINT", text, sizeof text));
    /* Here the device would use its function, at that address. */
    if (call("PUT", path, "{\"SERVERLESS_RUNTIME\": {\"FAAS\": {\"CPU\": 2}}}", NULL, answer))
        return -1;
    printf("resized to %s cores\n", member(answer, "CPU", text, sizeof text));
    return 0;
}

int main(void)
{
    static struct answer answer;
    char id[16], key[64], path[64];
    struct timespec now;

    curl_global_init(CURL_GLOBAL_DEFAULT);
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(key, sizeof key, "device-%ld-%ld-%ld", (long)getpid(), (long)now.tv_sec, now.tv_nsec);
    if (call("POST", "/serverless-runtimes",
             "{\"SERVERLESS_RUNTIME\": {\"FAAS\": {\"FLAVOUR\": \"nature\", \"CPU\": 1,"
             " \"MEMORY\": 512, \"DISK_SIZE\": 1024}}}", key, &answer))
        return EXIT_FAILURE;
    member(&answer, "ID", id, sizeof id);
    snprintf(path, sizeof path, "/serverless-runtimes/%s", id);
    printf("created runtime %s\n", id);

    int failed = use(path, &answer);
    if (call("DELETE", path, NULL, NULL, &answer))
        failed = -1;
    else
        printf("deleted\n");
    curl_global_cleanup();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
