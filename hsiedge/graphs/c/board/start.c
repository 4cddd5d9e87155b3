/* A Cortex-M without a system: starts, gives the golden rows to the net, and says over semihosting how many labels differ and how many
   bytes of stack a row took. Compiled with -DHS_TEST_NAME=name -DHS_TEST_UPPER=NAME -DHS_TEST="name_test.c", linked with mps2.ld. On a board of your own,
   its vendor's start code takes the place of all but `compared`. */
#include HS_TEST

#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#define CALL(name) JOINED(HS_TEST_NAME, name)
#define VALUE(name) JOINED(HS_TEST_UPPER, name)

extern uint32_t stack_top, data_from, data_begin, data_end, bss_begin, bss_end;
enum { PAINTED = 4096 };

static void semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
static void say(const char *what, int number)
{
    char text[12], *at = text + 11;
    unsigned rest = number < 0 ? 0u - (unsigned)number : (unsigned)number;
    *at = 0;
    do *--at = (char)('0' + rest % 10); while ((rest /= 10) != 0);
    if (number < 0) *--at = '-';
    semihost(4, what);
    semihost(4, at);
    semihost(4, "\n");
}

#ifdef HS_TEST_ALONE /* the test as it is, whose instructions are counted */
static int deepest;
#define compared CALL(_test)
#else
static unsigned char *painted;
static int deepest;
static void paint(void)
{
    unsigned char *here;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    painted = here - PAINTED;
    for (volatile unsigned char *at = painted; at < here - 64; at++) *at = 0xA5;
}
static void measure(void)
{
    unsigned char *here;
    int used = PAINTED;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (volatile unsigned char *at = painted; at < here && *at == 0xA5; at++) used--;
    if (used > deepest) deepest = used;
}

static int compared(void)
{ /* the same as NAME_test, and the stack */
    enum { WIDTH = HS_TEST_WIDTH, HEIGHT = HS_TEST_HEIGHT };
    static uint16_t labels[WIDTH];
    CALL(_state) *state;
    int done = CALL(_init)(&state, hs_test_memory, sizeof(hs_test_memory), WIDTH), rows = 0, differ = 0;
    if (done < 0) return done;
    for (int row = 0; row < HEIGHT || done > 0; row++) {
        paint();
        done = row < HEIGHT ? CALL(_push_row)(state, hs_test_rows + row * WIDTH * VALUE(_BANDS), labels) : CALL(_finish_row)(state, labels);
        measure();
        if (done < 0) return done;
        for (int x = 0; done > 0 && x < WIDTH; x++) differ += labels[x] != hs_test_labels[rows * WIDTH + x];
        rows += done;
    }
    return rows == HEIGHT ? differ : -9;
}
#endif

void reset(void);
void reset(void)
{
    const uint32_t *from = &data_from;
    *(volatile uint32_t *)0xE000ED88 |= 0xF << 20; /* the float unit */
    __asm__ volatile("dsb\n\tisb");
    for (uint32_t *at = &data_begin; at < &data_end; at++) *at = *from++;
    for (uint32_t *at = &bss_begin; at < &bss_end; at++) *at = 0;
    say("differ ", compared());
    say("stack ", deepest);
    semihost(0x18, (const void *)0x20026);
    for (;;) continue;
}
static void fault(void)
{
    semihost(4, "fault\n");
    semihost(0x18, (const void *)0x20024);
    for (;;) continue;
}
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {&stack_top, (void *)reset, (void *)fault, (void *)fault,
                                                                                 (void *)fault, (void *)fault, (void *)fault};
