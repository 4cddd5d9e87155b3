/* CPUID as a processor without AVX-512, AMX and VNNI would answer it, for libraries whose CPUID instructions fault (older.py):
   loaded before them (LD_PRELOAD), it answers each fault. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

/* Bits of leaf 7 and its subleaf 1 (Intel SDM, table 3-8): AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG,
   VPOPCNTDQ; 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, FP16, AMX-TILE, AMX-INT8; AVX-VNNI, AVX512-BF16; AVX-VNNI-INT8, AVX-NE-CONVERT,
   AVX-VNNI-INT16, AVX10. */
enum { B_OF_0 = 0xDC230000, C_OF_0 = 0x5842, D_OF_0 = 0x03C0010C, A_OF_1 = 0x30, D_OF_1 = 0x80430 };

static void answer(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX];
    unsigned a, b, c, d;
    (void)number, (void)info;
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) b &= ~(unsigned)B_OF_0, c &= ~(unsigned)C_OF_0, d &= ~(unsigned)D_OF_0;
    if (leaf == 7 && part == 1) a &= ~(unsigned)A_OF_1, d &= ~(unsigned)D_OF_1;
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, NULL);
}
