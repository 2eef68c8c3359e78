/* SPDX-License-Identifier: Apache-2.0 */
/* What the json room takes and refuses: values by key with defaults, numbers of either writing, NUL in
 * strings; depth, size, doubled keys, bad UTF-8 and text behind the value are errors that name the
 * place. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "json/json.h"
#include "regression/unit/test.h"

static const struct zi_json_place place = {"test", "config.json", 0, NULL};

static enum zi_status parse(const char *text, json_t **document)
{
    return zi_json_parse(&place, text, strlen(text), document);
}

static void test_values(void)
{
    json_t *document;
    bool flag = false;
    int64_t integer = 5, untouched = 6;
    double number = 0;
    const char *text = "default";
    const json_t *object = NULL, *array = NULL;
    CHECK(parse("{\"b\": true, \"i\": 2.0, \"n\": 3, \"s\": \"a\", \"cut\": \"a\\u0000b\", \"o\": "
                "{}, \"a\": [1], "
                "\"null\": null}",
                &document) == ZI_OK);
    CHECK(zi_json_get_bool(&place, document, "b", &flag) == ZI_OK && flag);
    CHECK(zi_json_get_integer(&place, document, "i", &integer) == ZI_OK && integer == 2);
    CHECK(zi_json_get_integer(&place, document, "missing", &untouched) == ZI_OK && untouched == 6);
    CHECK(zi_json_get_integer(&place, document, "null", &untouched) == ZI_OK && untouched == 6);
    CHECK(zi_json_get_number(&place, document, "n", &number) == ZI_OK && number == 3);
    CHECK_INT(zi_json_get_string(&place, document, "cut", &text), ZI_ERROR_USAGE);
    CHECK(zi_json_get_string(&place, document, "s", &text) == ZI_OK && !strcmp(text, "a"));
    CHECK(json_string_length(json_object_get(document, "cut")) == 3);
    CHECK(zi_json_get_object(&place, document, "o", &object) == ZI_OK && object);
    CHECK(zi_json_get_array(&place, document, "a", &array) == ZI_OK && json_array_size(array) == 1);
    CHECK(zi_json_require(&place, document, "o") == ZI_OK);
    CHECK(zi_json_require(&place, document, "null") == ZI_ERROR_USAGE);

    CHECK(zi_json_get_bool(&place, document, "n", &flag) == ZI_ERROR_USAGE);
    CHECK(zi_json_get_integer(&place, document, "s", &integer) == ZI_ERROR_USAGE);
    CHECK(zi_json_get_number(&place, document, "b", &number) == ZI_ERROR_USAGE);
    CHECK(zi_json_get_string(&place, document, "i", &text) == ZI_ERROR_USAGE);
    CHECK(zi_json_get_object(&place, document, "a", &object) == ZI_ERROR_USAGE);
    CHECK(zi_json_get_array(&place, document, "o", &array) == ZI_ERROR_USAGE);
    CHECK(integer == 2 && number == 3);
    json_decref(document);
}

static void test_integers(void)
{
    static const char *const bad[] = {"{\"i\": 2.5}", "{\"i\": 1e300}", "{\"i\": \"2\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *document;
        int64_t value = 7;
        CHECK(parse(bad[i], &document) == ZI_OK);
        CHECK(zi_json_get_integer(&place, document, "i", &value) == ZI_ERROR_USAGE && value == 7);
        json_decref(document);
    }
}

static void test_refused(void)
{
    static const char *const bad[] = {"",    "{",        "{} {}",       "{\"a\": 1, \"a\": 2}",
                                      "nul", "\"\xff\"", "{\"a\": 01}", "{\"a\": 1e999}"};
    json_t *document;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(parse(bad[i], &document) == ZI_ERROR_USAGE && !document);
    enum { DEEP = 100000 };
    char *deep = malloc(DEEP);
    ZI_REQUIRE(deep);
    memset(deep, '[', DEEP);
    CHECK(zi_json_parse(&place, deep, DEEP, &document) == ZI_ERROR_USAGE);
    free(deep);
}

static void test_files(void)
{
    char name[] = "json-test-XXXXXX";
    int file = mkstemp(name);
    json_t *document;
    const struct zi_json_place there = {"test", name, 0, NULL},
                               missing = {"test", "nowhere", 0, NULL};
    CHECK(file >= 0 && write(file, "[1, 2]", 6) == 6);
    CHECK(zi_json_read(&there, 6, &document) == ZI_OK && json_array_size(document) == 2);
    json_decref(document);
    CHECK(zi_json_read(&there, 5, &document) == ZI_ERROR_USAGE && !document);
    CHECK(zi_json_read(&missing, 5, &document) == ZI_ERROR_USAGE);
    close(file);
    unlink(name);
}

static void test_large_integers(void)
{
    static const char text[] = "{\"most\": 1000000000000000019884624838656, \"i\": 3}";
    char name[] = "json-test-XXXXXX";
    int file = mkstemp(name);
    json_t *document;
    int64_t value = 7;
    double number = 0;
    const struct zi_json_place there = {"test", name, 0, NULL};
    CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(zi_json_read(&there, 99, &document) == ZI_ERROR_USAGE);
    CHECK(zi_json_read_large(&there, 99, &document) == ZI_OK);
    CHECK(zi_json_get_integer(&there, document, "i", &value) == ZI_OK && value == 3);
    CHECK(zi_json_get_integer(&there, document, "most", &value) == ZI_ERROR_USAGE && value == 3);
    CHECK(zi_json_get_number(&there, document, "most", &number) == ZI_OK && number == 1e30);
    json_decref(document);
    CHECK(ftruncate(file, 0) == 0 && pwrite(file, "1e999", 5, 0) == 5);
    CHECK(zi_json_read_large(&there, 99, &document) == ZI_ERROR_USAGE);
    close(file);
    unlink(name);
}

int main(void)
{
    test_values();
    test_integers();
    test_refused();
    test_files();
    test_large_integers();
    return test_finish("json_test");
}
