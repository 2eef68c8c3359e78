/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON schema of decks, for editors.
 *
 * It accepts what the parser accepts of a single key: a number in its range, or text of the form
 * that carries a multiplier or a unit, or the words of the row. What depends on several keys, and
 * the range of a number with a unit, only the parser checks. Draft 7, because that is what the
 * YAML servers of editors know best; merge keys and aliases are resolved before a schema is
 * applied. YAML 1.1 and 1.2 differ in what is a boolean or a number, so both readings pass. */
#include "deck/deck.h"

#include "base/log.h"
#include "deck/private.h"
#include "deck/value.h"

#include <stdlib.h>
#include <string.h>

#define DIGITS "[+-]?([0-9][0-9_]*\\\\.?[0-9_]*|\\\\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?"

static void json_text(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static bool is_digits(const char *text)
{
    return *text && !text[strspn(text, "0123456789")];
}

/* The words a row takes, as the alternative of an anyOf; false when there is none. */
static bool words_write(const struct deck_row *row, FILE *out)
{
    bool boolean = row->type == DECK_BOOLEAN || row->type == DECK_TRISTATE;
    int count = 0;
    if (!boolean && !row->choices && !row->may_be_auto && !row->may_be_never) return false;
    fputs("{\"enum\": [", out);
    if (boolean) count += fputs("true, false, \"yes\", \"no\"", out) >= 0;
    for (int i = 0; row->choices && row->choices[i].word; i++) {
        fputs(count++ ? ", " : "", out);
        json_text(row->choices[i].word, out);
        /* A word of digits is a number to YAML. */
        if (is_digits(row->choices[i].word)) fprintf(out, ", %s", row->choices[i].word);
    }
    if (row->may_be_auto) fputs(count++ ? ", \"auto\"" : "\"auto\"", out);
    if (row->may_be_never) fputs(count++ ? ", \"never\"" : "\"never\"", out);
    fputs("]}", out);
    return true;
}

static void bounds_write(const struct deck_row *row, FILE *out)
{
    if (row->maximum >= 0x1p63)
        fprintf(out, "\"minimum\": %.17g}", row->minimum);
    else
        fprintf(out, "\"minimum\": %.17g, \"maximum\": %.17g}", row->minimum, row->maximum);
}

/* A path, or a list of paths or of maps. */
static void sources_write(const struct deck_row *row, FILE *out)
{
#define TEXT "\"type\": [\"string\", \"number\", \"boolean\"]"
    fprintf(out,
            "{" TEXT "%s}, {\"type\": \"array\", \"minItems\": 1, \"maxItems\": %d, "
            "\"items\": {\"anyOf\": [{" TEXT ", \"minLength\": 1}, {\"type\": \"object\", "
            "\"additionalProperties\": false, \"required\": [\"path\", \"weight\"], "
            "\"properties\": {\"path\": {" TEXT ", \"minLength\": 1}, \"weight\": {\"anyOf\": "
            "[{\"type\": \"number\", \"minimum\": 1e-9, \"maximum\": 1e9}, "
            "{\"type\": \"string\", \"pattern\": \"^" DIGITS " *$\"}]}}}]}}",
            row->fallback && !*row->fallback ? "" : ", \"minLength\": 1", (int)DECK_SOURCES_MAX);
#undef TEXT
}

/* Numbers, sizes and text of a row, as alternatives of an anyOf; false when there is none. */
static bool values_write(const struct deck_row *row, FILE *out)
{
    char singular[32];
    switch (row->type) {
    case DECK_INTEGER:
        fputs("{\"type\": \"integer\", ", out);
        bounds_write(row, out);
        fputs(", {\"type\": \"string\", \"pattern\": \"^" DIGITS " *(k|M|G|Ki|Mi|Gi)?", out);
        if (row->unit)
            fprintf(out, " *(%s|%s)?", row->unit, deck_unit_singular(row->unit, singular));
        fputs(" *$\"}", out);
        return true;
    case DECK_REAL:
        fputs("{\"type\": \"number\", ", out);
        bounds_write(row, out);
        fputs(", {\"type\": \"string\", \"pattern\": \"^" DIGITS " *$\"}", out);
        return true;
    case DECK_BYTES:
        fputs("{\"type\": \"string\", \"pattern\": \"^" DIGITS
              " *(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB) *$\"}",
              out);
        return true;
    case DECK_TEXT:
    case DECK_PATH:
        fprintf(out, "{\"type\": [\"string\", \"number\", \"boolean\"]%s}",
                row->fallback && !*row->fallback ? "" : ", \"minLength\": 1");
        return true;
    case DECK_PATHS:
    case DECK_WORDS:
        fprintf(out,
                "{\"type\": [\"string\", \"number\", \"boolean\"], \"minLength\": 1}, "
                "{\"type\": \"array\", \"minItems\": 1, \"maxItems\": %d, "
                "\"uniqueItems\": true, "
                "\"items\": {\"type\": [\"string\", \"number\", \"boolean\"], "
                "\"minLength\": 1}}",
                (int)DECK_LIST_MAX);
        return true;
    case DECK_SOURCES:
        sources_write(row, out);
        return true;
    default:
        return false;
    }
}

/* Default or example, as a YAML reader would give it to the schema. */
static void value_write(const struct deck_row *row, FILE *out)
{
    struct settings settings;
    char *text = NULL, problem[DECK_MESSAGE];
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    ZI_REQUIRE(stream && deck_settings_fill(&settings));
    if (!row->fallback) ZI_REQUIRE(deck_value_read(row, row->example, true, &settings, problem));
    deck_value_write(row, &settings, stream);
    ZI_REQUIRE(fclose(stream) == 0);
    bool bare = row->type == DECK_REAL || (row->type == DECK_CHOICE && is_digits(text)) ||
                (row->type == DECK_INTEGER && is_digits(text)) || text[0] == '"';
    if (bare)
        fputs(text, out);
    else
        json_text(text, out);
    free(text);
    deck_settings_free(&settings);
}

static void description_write(const struct deck_row *row, FILE *out)
{
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    ZI_REQUIRE(stream);
    fprintf(stream, "%s%s", row->help, row->uses ? "; only with " : "");
    deck_uses_write(row, stream);
    ZI_REQUIRE(fclose(stream) == 0);
    json_text(text, out);
    free(text);
}

static void key_write(const struct deck_row *row, bool last, FILE *out)
{
    fprintf(out, "                \"%s\": {\n                    \"description\": ", row->key);
    description_write(row, out);
    fprintf(out, ",\n                    \"%s\": ", row->fallback ? "default" : "examples");
    if (!row->fallback) fputc('[', out);
    value_write(row, out);
    if (!row->fallback) fputc(']', out);
    fputs(",\n                    \"anyOf\": [", out);
    char *words = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&words, &bytes);
    ZI_REQUIRE(stream);
    bool some = words_write(row, stream);
    ZI_REQUIRE(fclose(stream) == 0);
    if (values_write(row, out) && some) fputs(", ", out);
    fputs(words, out);
    free(words);
    fprintf(out, "]\n                }%s\n", last ? "" : ",");
}

/* Names of the required keys of a section, or of the sections that have some. */
static void required_write(const char *section, FILE *out)
{
    int rows, count = 0;
    const struct deck_row *row = deck_rows(&rows);
    const char *last = "";
    for (int i = 0; i < rows; i++) {
        const char *name = section ? row[i].key : row[i].section;
        if (row[i].fallback || (section && strcmp(row[i].section, section) != 0)) continue;
        if (!section && strcmp(last, name) == 0) continue;
        fprintf(out, "%s\"%s\"", count++ ? ", " : "", name);
        last = name;
    }
}

static void section_write(const char *section, bool last, FILE *out)
{
    const char *keys[DECK_NAMES_MAX];
    int count = deck_key_names(section, keys), required = 0;
    for (int i = 0; i < count; i++)
        required += !deck_find(section, keys[i])->fallback;
    fprintf(out, "        \"%s\": {\n            \"description\": ", section);
    json_text(deck_section_help(section), out);
    /* A section without required keys may be there with all its keys commented out. */
    fprintf(out, ",\n            \"type\": %s,\n",
            required ? "\"object\"" : "[\"object\", \"null\"]");
    fputs("            \"additionalProperties\": false,\n            ", out);
    /* The model may come from elsewhere. */
    bool model = strcmp(section, "model") == 0;
    fputs(model ? "\"anyOf\": [{\"required\": [\"from\"]}, {\"required\": [" : "\"required\": [",
          out);
    required_write(section, out);
    fprintf(out, "]%s,\n            \"properties\": {\n", model ? "}]" : "");
    for (int i = 0; i < count; i++)
        key_write(deck_find(section, keys[i]), i + 1 == count, out);
    fprintf(out, "            }\n        }%s\n", last ? "" : ",");
}

void deck_write_schema(FILE *out)
{
    const char *names[DECK_NAMES_MAX];
    int count = deck_section_names(names);
    fputs("{\n"
          "    \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n"
          "    \"$comment\": \"Written by zinf from its table of keys; do not edit.\",\n"
          "    \"title\": \"zinf deck\",\n"
          "    \"type\": \"object\",\n"
          "    \"additionalProperties\": false,\n"
          "    \"patternProperties\": {\"^x-\": {}},\n"
          "    \"required\": [",
          out);
    required_write(NULL, out);
    fputs("],\n    \"properties\": {\n", out);
    for (int i = 0; i < count; i++)
        section_write(names[i], i + 1 == count, out);
    fputs("    }\n}\n", out);
}
