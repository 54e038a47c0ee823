/* ELF headers and #! lines as `foyer run` reads them. */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "images.h"

#define LINKER "/lib64/ld-linux-x86-64.so.2"

static int read_image_facts(struct image *image, struct elf_facts *ret_facts)
{
    struct elf_source source = image_source(image);
    return elf_read(&source, ret_facts);
}

static void dynamic_image(struct image *image, bool is_64, bool is_big)
{
    image_init(image, is_64, is_big, EM_X86_64);
    image_add(image, PT_INTERP, LINKER, sizeof(LINKER));
    image_add(image, PT_DYNAMIC, NULL, 0);
}

static void dynamic_program_of_each_class_and_byte_order(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct image image;
        struct elf_facts facts;
        dynamic_image(&image, (kind & 1) != 0, (kind & 2) != 0);
        assert_int_equal(read_image_facts(&image, &facts), 0);
        assert_int_equal(facts.class, (kind & 1) != 0 ? ELFCLASS64 : ELFCLASS32);
        assert_int_equal(facts.data, (kind & 2) != 0 ? ELFDATA2MSB : ELFDATA2LSB);
        assert_int_equal(facts.type, ET_DYN);
        assert_int_equal(facts.machine, EM_X86_64);
        assert_true(facts.has_interpreter);
        assert_true(facts.has_dynamic);
        assert_false(facts.is_go);
        assert_string_equal(facts.interpreter, LINKER);
    }
}

static void static_programs(void **state)
{
    (void)state;
    struct image image;
    struct elf_facts facts;
    image_init(&image, true, false, EM_X86_64);
    assert_int_equal(read_image_facts(&image, &facts), 0);
    assert_false(facts.has_interpreter);
    assert_false(facts.has_dynamic);
    /* static-pie */
    image_add(&image, PT_DYNAMIC, NULL, 0);
    assert_int_equal(read_image_facts(&image, &facts), 0);
    assert_false(facts.has_interpreter);
    assert_true(facts.has_dynamic);
}

static void cut_off_at_every_length(void **state)
{
    (void)state;
    struct image image;
    struct elf_facts facts;
    dynamic_image(&image, true, false);
    size_t whole = image.size;
    for (size_t size = 0; size < whole; size++) {
        image.size = size;
        /* The table has unused headers at its end, then the interpreter: all of it is needed. */
        assert_int_equal(read_image_facts(&image, &facts), size < SELFMAG ? -ENOEXEC : -EBADMSG);
    }
}

static void other_files(void **state)
{
    (void)state;
    struct image image;
    struct elf_facts facts;
    dynamic_image(&image, true, false);
    image.bytes[0] = '#';
    assert_int_equal(read_image_facts(&image, &facts), -ENOEXEC);
    dynamic_image(&image, true, false);
    image.bytes[EI_CLASS] = 3;
    assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
    dynamic_image(&image, true, false);
    image.bytes[EI_DATA] = 0;
    assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
}

static void hostile_header_table(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {UINT64_MAX, UINT64_MAX - 55, UINT64_MAX - 111, 4096,
                                       (uint64_t)1 << 63};
    struct image image;
    struct elf_facts facts;
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        dynamic_image(&image, true, false);
        image_set(&image, 32, 8, offsets[i]);
        assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
    }
    dynamic_image(&image, true, false);
    image_set(&image, 54, 2, sizeof(Elf64_Phdr) - 1); /* e_phentsize */
    assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
    dynamic_image(&image, true, false);
    image_set(&image, 54, 2, 0);
    assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
    dynamic_image(&image, true, false);
    image_set(&image, 56, 2, 0xffff); /* e_phnum */
    assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
}

static void hostile_interpreter(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {
        0, 1, ELF_PATH_MAX + 1, UINT64_MAX, sizeof(LINKER) - 1, sizeof(LINKER) + 1};
    struct image image;
    struct elf_facts facts;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        image_init(&image, true, false, EM_X86_64);
        size_t at = image_add(&image, PT_INTERP, LINKER, sizeof(LINKER));
        image_set(&image, at + 32, 8, sizes[i]);
        assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
    }
    image_init(&image, true, false, EM_X86_64);
    size_t at = image_add(&image, PT_INTERP, LINKER, sizeof(LINKER));
    image_set(&image, at + 8, 8, UINT64_MAX - 4);
    assert_int_equal(read_image_facts(&image, &facts), -EBADMSG);
}

/* Notes as linkers write them: sizes of owner and contents, type, owner, contents. */
static const uint8_t gnu_then_go[] = {4,   0, 0, 0, 4,   0,   0, 0, 1,   0,   0,   0, 'G', 'N',
                                      'U', 0, 1, 2, 3,   4,   4, 0, 0,   0,   3,   0, 0,   0,
                                      4,   0, 0, 0, 'G', 'o', 0, 0, 'a', 'b', 'c', 0};

static void go_is_known_by_its_note(void **state)
{
    (void)state;
    struct image image;
    struct elf_facts facts;
    dynamic_image(&image, true, false);
    image_add(&image, PT_NOTE, gnu_then_go, sizeof(gnu_then_go));
    assert_int_equal(read_image_facts(&image, &facts), 0);
    assert_true(facts.is_go);
    dynamic_image(&image, true, false);
    image_add(&image, PT_NOTE, gnu_then_go, 20);
    assert_int_equal(read_image_facts(&image, &facts), 0);
    assert_false(facts.is_go);
}

/* Whatever the sizes in a note say, reading ends, and the file is otherwise fine. */
static void hostile_notes(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0xffffffff, 0xfffffffc, 0x7fffffff, 0x10000, 0};
    uint8_t note[12 + 4];
    struct image image;
    struct elf_facts facts;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        memset(note, 0, sizeof(note));
        memcpy(note, &sizes[i], 4);
        memcpy(note + 4, &sizes[i], 4);
        dynamic_image(&image, true, false);
        size_t at = image_add(&image, PT_NOTE, note, sizeof(note));
        image_set(&image, at + 32, 8, i % 2 == 0 ? UINT64_MAX : sizeof(note));
        assert_int_equal(read_image_facts(&image, &facts), 0);
        assert_false(facts.is_go);
    }
}

static void machine_names(void **state)
{
    (void)state;
    struct elf_facts facts = {.class = ELFCLASS64, .machine = EM_AARCH64};
    assert_string_equal(elf_machine_name(&facts), "aarch64");
    facts.machine = EM_X86_64;
    assert_string_equal(elf_machine_name(&facts), "x86-64");
    facts.class = ELFCLASS32;
    assert_string_equal(elf_machine_name(&facts), "x32");
    facts.machine = 0xfffe;
    assert_null(elf_machine_name(&facts));
}

static void script_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *interpreter, *argument; /* interpreter NULL: no script */
    } cases[] = {
        {"#!/bin/sh\necho", "/bin/sh", ""},
        {"#! \t/bin/sh  -e  -u \t\n", "/bin/sh", "-e  -u"},
        {"#!/usr/bin/env python3", "/usr/bin/env", "python3"},
        {"#!a", "a", ""},
        {"#!", NULL, NULL},
        {"#!\n/bin/sh", NULL, NULL},
        {"#!  \t \n", NULL, NULL},
        {"# !/bin/sh\n", NULL, NULL},
        {"#", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct script_line line;
        int result = script_parse((const uint8_t *)cases[i].text, strlen(cases[i].text), &line);
        assert_int_equal(result, cases[i].interpreter != NULL ? 0 : -ENOEXEC);
        if (result == 0) {
            assert_string_equal(line.interpreter, cases[i].interpreter);
            assert_string_equal(line.argument, cases[i].argument);
        }
    }
}

static void script_line_that_fills_the_buffer(void **state)
{
    (void)state;
    uint8_t bytes[SCRIPT_LINE_MAX + 8];
    struct script_line line;
    memset(bytes, 'a', sizeof(bytes));
    memcpy(bytes, "#!", 2);
    /* The name may go on behind the buffer. */
    assert_int_equal(script_parse(bytes, sizeof(bytes), &line), -ENOEXEC);
    /* The file ends with it. */
    assert_int_equal(script_parse(bytes, SCRIPT_LINE_MAX - 1, &line), 0);
    assert_int_equal(strlen(line.interpreter), SCRIPT_LINE_MAX - 3);
    /* Only the argument is cut off, which the kernel lets pass. */
    bytes[10] = ' ';
    assert_int_equal(script_parse(bytes, sizeof(bytes), &line), 0);
    assert_string_equal(line.interpreter, "aaaaaaaa");
    assert_int_equal(strlen(line.argument), SCRIPT_LINE_MAX - 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dynamic_program_of_each_class_and_byte_order),
        cmocka_unit_test(static_programs),
        cmocka_unit_test(cut_off_at_every_length),
        cmocka_unit_test(other_files),
        cmocka_unit_test(hostile_header_table),
        cmocka_unit_test(hostile_interpreter),
        cmocka_unit_test(go_is_known_by_its_note),
        cmocka_unit_test(hostile_notes),
        cmocka_unit_test(machine_names),
        cmocka_unit_test(script_lines),
        cmocka_unit_test(script_line_that_fills_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
