/* A QEMU plugin: the instructions that a program has executed between marks. A mark is a system call that does nothing,
 * getpriority(42, n); at each one a line "n instructions" is written, counted since the mark before; at the end "0 instructions", all.
 *
 *     gcc -O2 -shared -fPIC instructions.c -o instructions.so
 *     qemu-aarch64 -plugin instructions.so,out=FILE PROGRAM
 *
 * It declares what it needs of QEMU's plugin interface, version 1 (QEMU 4.2 to 8.2), for Debian packages no header of it.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*called)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, called);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

enum { GETPRIORITY = 141, MARK = 42 }; /* the number of the call on aarch64; a "which" that Linux refuses */

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t executed, at_mark;
static FILE *out;

/* Each block of instructions adds its length whenever it runs. */
static void count_block(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void note_mark(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t which, uint64_t mark, uint64_t a3, uint64_t a4,
                      uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY || which != MARK)
        return;
    fprintf(out, "%" PRIu64 " %" PRIu64 "\n", mark, executed - at_mark);
    fflush(out);
    at_mark = executed;
}

static void note_end(qemu_plugin_id_t id, void *nothing)
{
    (void)id, (void)nothing;
    fprintf(out, "0 %" PRIu64 "\n", executed);
    fflush(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **words)
{
    (void)info;
    if (count != 1 || strncmp(words[0], "out=", 4) || !(out = fopen(words[0] + 4, "w")))
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
    qemu_plugin_register_vcpu_syscall_cb(id, note_mark);
    qemu_plugin_register_atexit_cb(id, note_end, NULL);
    return 0;
}
