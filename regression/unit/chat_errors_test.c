/* SPDX-License-Identifier: Apache-2.0 */
/* What the room chat refuses, with the name and the line of what a template asks for; and templates that
 * mean harm: each ends as an error within a second and 64 MiB. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "chat/chat.h"
#include "regression/unit/capture_fixture.h"
#include "regression/unit/test.h"

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Opens a template and renders it. */
static enum zi_status try(const char *template, size_t bytes, const json_t *messages,
                          char said[4096])
{
    struct capture capture;
    struct chat_template *chat;
    struct chat_text text = {.text = NULL};
    const struct chat_request request = {.messages = messages, .mark_assistant = true};
    capture_begin(&capture, stderr);
    enum zi_status status = chat_template_parse("T", template, bytes, NULL, &chat);
    if (status >= 0) status = chat_render(chat, &request, &text);
    snprintf(said, 4096, "%.4000s", capture_end(&capture));
    chat_text_free(&text);
    chat_template_close(chat);
    return status;
}

static json_t *make_messages(void)
{
    return json_pack("[{s:s, s:s}, {s:s, s:s}, {s:s, s:s}, {s:s, s:s}]", "role", "user", "content",
                     "a", "role", "assistant", "content", "b", "role", "user", "content", "c",
                     "role", "assistant", "content", "d");
}

static void check_refused_bytes(const char *template, size_t bytes, const char *what)
{
    char said[4096];
    json_t *messages = make_messages();
    double begun = seconds();
    CHECK_INT(try(template, bytes, messages, said), ZI_ERROR_USAGE);
    CHECK(seconds() - begun < 1);
    if (!strstr(said, what)) fprintf(stderr, "%.80s: wanted %s, said %s\n", template, what, said);
    CHECK(strstr(said, what));
    json_decref(messages);
}

static void check_refused(const char *template, const char *what)
{
    check_refused_bytes(template, strlen(template), what);
}

static void test_names(void)
{
    check_refused("a\n{{ x | sha1 }}", "line 2: the filter sha1 is not done");
    check_refused("\n\n{% if x is upper %}{% endif %}", "line 3: the test upper is not done");
    check_refused("{% include 'x' %}", "line 1: the block include is not done");
    check_refused("\n{% raw %}{% endraw %}", "line 2: the block raw is not done");
    check_refused("{{ 'a'.format(1) }}", "line 1: format of a str is not done");
    check_refused("{{\n\n [].append(1) }}", "line 3: append of a list is not done");
    check_refused("{{ {}.update(a=1) }}", "update of a dict is not done");
    check_refused("{{ ''.__class__ }}", "the attribute __class__ is not done");
    check_refused("{{ ''['__class__'] }}", "the attribute __class__ is not done");
    check_refused("{{ cycler(1) }}", "cycler is not done");
    check_refused("{{ f(*x) }}", "arguments out of a list (*) are not done");
    check_refused("{{ '%s' % 1 }}", "texts are not formatted by %");
    check_refused("{% for a in b recursive %}{% endfor %}", "recursive is not done");
    check_refused("{% for i in [1] %}{{ loop.changed(i) }}{% endfor %}",
                  "loop.changed is not done");
    check_refused("{% for i in [1] %}{% macro m() %}{% endmacro %}{% endfor %}", "a macro inside");
    check_refused("{% set x %}{% generation %}{% endgeneration %}{% endset %}",
                  "generation inside");
    check_refused("{{ 'x' + ('y' | safe) }}", "marked as safe are not done: write ~");
    check_refused("{% set x = 'y' | safe %}{{ x.strip() }}",
                  "methods of a text that is marked as safe");
    check_refused("{{ '\xc3\xa4' | upper }}", "beyond ASCII");
    check_refused("{{ 0x10 }}", "a number that is written as 0x");
    check_refused("{{ 9223372036854775808 }}", "too large");
    check_refused("{{ 9223372036854775807 + 1 }}", "beyond 64 bits");
    check_refused("{{ '\\N{DASH}' }}", "the escape \\N is not done");
    check_refused("{{ range }}", "a function is not written");
    check_refused("{{ {}.items() }}", "a view of a dict is not written");
    check_refused("{{ [1].copy }}", "copy of a list is not done");
    check_refused("{{ 'a' | tojson(default=1) }}", "the argument default is not done");
}

static void test_syntax(void)
{
    check_refused("{% if x %}\n{% for y in x %}{% endfor %}", "line 1: the block that begins here");
    check_refused("\n{{ x", "line 2: a tag without }}");
    check_refused("{# x", "a comment without #}");
    check_refused("{{ 'x }}", "a string without its end");
    check_refused("{{ (1 }}", "} closes nothing");
    check_refused("{{ 1) }}", ") closes nothing");
    check_refused("{{ 1 2 }}", "2 where }} should be");
    check_refused("{{ }}", "}} where an expression should be");
    check_refused("{% endif %}", "the block endif is not done, or not here");
    check_refused("{% break %}", "break outside of a loop");
    check_refused("{% set x %}{% break %}{% endset %}", "break outside of a loop");
    check_refused("{{ a ? b }}", "a character that has no meaning here: ?");
    check_refused("{{ '\\ud800' }}", "no character");
    check_refused_bytes("\xff", 1, "not UTF-8");
}

static void test_values(void)
{
    check_refused("{{ x.y.z }}", "y of an undefined value");
    check_refused("{{ x() }}", "cannot be called: x");
    check_refused("{{ 1 + 'a' }}", "int + str is not possible");
    check_refused("{{ 1 // 0 }}", "division by zero");
    check_refused("{{ x | tojson }}", "a undefined value has no JSON");
    check_refused("{% for a, b in [(1, 2, 3)] %}{% endfor %}", "3 values for 2 names");
    check_refused("{% set x = 1 %}{% set x.y = 1 %}", "only of a namespace");
    check_refused("{{ {[]: 1} }}", "a list cannot be a key");
    check_refused("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "the macro takes 1 arguments");
    check_refused("{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "the macro has no argument b");
    check_refused("\n{{ raise_exception('no ' ~ 'tools') }}",
                  "line 2: the template refuses these messages: no tools");
    check_refused("{{ 3 in 4 }}", "a int cannot be run through");
}

/* Turns of the assistant that cannot be told apart from the rest. */
static void test_turns(void)
{
    check_refused(
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}>"
        "{% endif %}",
        "message 1 (from 0) is the assistant's cannot be told: the turn does not go on");
    check_refused("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
                  "cannot be told");
    check_refused("{% for m in messages %}{{ '-' if m.role == 'assistant' and not loop.last else "
                  "m.content }}{% endfor %}",
                  "cannot be told: later messages change");
}

static char *repeat(const char *text, size_t count)
{
    size_t bytes = strlen(text);
    char *all = malloc(bytes * count + 1);
    if (!all) exit(1);
    for (size_t i = 0; i < count; i++)
        memcpy(all + i * bytes, text, bytes);
    all[bytes * count] = 0;
    return all;
}

static void check_repeated(const char *text, size_t count, const char *what)
{
    char *all = repeat(text, count);
    check_refused(all, what);
    free(all);
}

static void test_hostile(void)
{
    check_repeated("a", 300000, "more than 262144 are not taken");
    check_repeated("{{ (", 60000, "tag without");
    check_repeated("{% if x %}", 20000, "deeper than 100");
    check_repeated("{{ not ", 1, "tag without");
    check_repeated("{{ -", 60000, "tag without");
    char *deep = repeat("[", 100000), *terms = repeat("1+", 100000), *text;
    if (asprintf(&text, "{{ %s }}", deep) < 0) exit(1);
    check_refused(text, "a tag without");
    free(text);
    if (asprintf(&text, "{{ %s1 }}", terms) < 0) exit(1);
    check_refused(text, "deeper than 300");
    free(text);
    free(deep);
    free(terms);
    check_refused("{{ 'x' * 1000000000000 }}", "");
    check_refused("{{ [1] * 1000000000000 }}", "does not come to an end");
    check_refused("{{ range(1000000000) }}", "more than 100000 numbers");
    check_refused(
        "{% set r = range(100000) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
        "does not come to an end");
    check_refused("{% for a in range(100000) %}{{ 'x' * 10000 }}{% endfor %}", "");
    check_refused("{% set n = namespace(x='x') %}{% for a in range(100) %}{% set n.x = n.x ~ n.x %}"
                  "{% endfor %}",
                  "bytes of memory");
    check_refused("{% set n = namespace(x=[1]) %}{% for a in range(100) %}{% set n.x = n.x + n.x %}"
                  "{% endfor %}",
                  "");
    check_refused("{% set n = namespace(x=[]) %}{% for a in range(10000) %}{% set n.x = [n.x] %}"
                  "{% endfor %}{{ n.x }}",
                  "deeper than 500");
    check_refused("{% set n = namespace(x=[]) %}{% for a in range(10000) %}{% set n.x = [n.x] %}"
                  "{% endfor %}{{ n.x | tojson }}",
                  "deeper than 500");
    check_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deeper than 300");
    check_refused("{% set n = namespace(x='a') %}{% for a in range(17) %}{% set n.x = n.x ~ n.x %}"
                  "{% endfor %}{{ n.x.replace('', n.x) }}",
                  "longer than");
    check_refused("{% set n = namespace(x='a') %}{% for a in range(17) %}{% set n.x = n.x ~ n.x %}"
                  "{% endfor %}{% for a in range(100000) %}{{ n.x.count('b') }}{% endfor %}",
                  "does not come to an end");
    check_refused("{% set n = namespace(x='a') %}{% for a in range(20) %}{% set n.x = n.x ~ n.x %}"
                  "{% endfor %}{{ n.x.strip(n.x ~ 'b') }}",
                  "does not come to an end");
    check_refused("{% set n = namespace(x=2) %}{% for a in range(100) %}{% set n.x = n.x ** 2 %}"
                  "{% endfor %}",
                  "beyond 64 bits");
    check_refused("{{ 3 ** 9000000000000000000 }}", "beyond 64 bits");
    check_refused("{{ {'a': [1]} | tojson(indent=1000000) }}", "an indent above 100");
    check_refused("{{ 'a' | indent(1000000000) }}", "");
}

int main(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    long begun = used.ru_maxrss;
    test_names();
    test_syntax();
    test_values();
    test_turns();
    test_hostile();
    getrusage(RUSAGE_SELF, &used);
    CHECK(used.ru_maxrss - begun < 64 << 10);
    return test_finish("chat_errors_test");
}
