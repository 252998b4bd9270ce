/* A stand-in for the NVIDIA driver's library: the tests build it as libnvidia-ml.so.1, and nvidia-ml-py loads it as the
 * real one. What it answers stands in a script, the file named by STANDIN_NVML:
 *
 *     driver 580.95.05
 *     gpus 2
 *     set GPU FIELD VALUE [AT_S]             the value from AT_S seconds after the first initialisation on (default 0)
 *     rate GPU FIELD PER_S                   it grows by so much a second
 *     process GPU PID BYTES
 *     fail GPU FUNCTION CODE AFTER [COUNT]   after AFTER calls that match; COUNT calls long, or `init`: until initialised again
 *     slow GPU FUNCTION MS AFTER [COUNT]     such a call takes so long
 *
 * GPU and FUNCTION may be `*`. Units are the library's own: bytes, percent, milliwatts, millijoules, MHz.
 * Built with -DOLD_DRIVER it lacks what older drivers lack.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_GPUS 16
#define MOST_LINES 256

typedef int nvmlReturn_t;
typedef struct gpu *nvmlDevice_t;

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

struct step { char field[32]; double value, at_s, per_s; };
struct process { unsigned pid; unsigned long long bytes; };
struct gpu {
    int index, steps, processes;
    struct step step[64];
    struct process process[16];
};
struct rule { int gpu, code, after, count, until_init, calls, slow_ms, off; char function[64]; };

static struct gpu gpus[MOST_GPUS];
static struct rule rules[MOST_LINES];
static int gpu_count = 1, rule_count, users, loaded;
static char driver_version[80] = "580.95.05";
static double loaded_at;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void add_step(int gpu, const char *field, double value, double at_s, double per_s) {
    struct gpu *g = &gpus[gpu];
    if (g->steps >= 64) return;
    struct step *s = &g->step[g->steps++];
    snprintf(s->field, sizeof s->field, "%s", field);
    s->value = value, s->at_s = at_s, s->per_s = per_s;
}

static void defaults(int gpu) {
    static const struct { const char *field; double value; } values[] = {
        {"memory_total", 85899345920.0}, {"memory_used", 2147483648.0}, {"memory_reserved", 536870912.0},
        {"utilization", 40}, {"memory_utilization", 12}, {"power", 300000}, {"power_limit", 700000},
        {"energy", 5000000}, {"temperature", 51}, {"sm_clock", 1980}, {"memory_clock", 2619},
        {"event_reasons", 0}, {"ecc", 0}, {"pcie_sent", 1000}, {"pcie_received", 2000},
    };
    for (unsigned i = 0; i < sizeof values / sizeof *values; i++) add_step(gpu, values[i].field, values[i].value, 0, 0);
}

static void add_rule(const char *line, int slow) {
    char gpu[16], function[64], count[16] = "0";
    int number, after = 0;
    if (sscanf(line, "%*s %15s %63s %d %d %15s", gpu, function, &number, &after, count) < 3 || rule_count >= MOST_LINES)
        return;
    struct rule *r = &rules[rule_count++];
    r->gpu = *gpu == '*' ? -1 : atoi(gpu);
    snprintf(r->function, sizeof r->function, "%s", function);
    if (slow) r->slow_ms = number; else r->code = number;
    r->after = after;
    r->until_init = strcmp(count, "init") == 0;
    r->count = r->until_init ? 0 : atoi(count);
}

static void read_line(const char *line) {
    char field[32];
    int gpu = 0;
    unsigned pid;
    unsigned long long bytes;
    double value, at_s = 0;
    if (sscanf(line, "gpus %d", &gpu) == 1) { gpu_count = gpu < MOST_GPUS ? gpu : MOST_GPUS; return; }
    if (sscanf(line, "driver %79s", driver_version) == 1) return;
    if (strncmp(line, "fail ", 5) == 0) { add_rule(line, 0); return; }
    if (strncmp(line, "slow ", 5) == 0) { add_rule(line, 1); return; }
    if (sscanf(line, "set %d %31s %lf %lf", &gpu, field, &value, &at_s) >= 3) { add_step(gpu % MOST_GPUS, field, value, at_s, 0); return; }
    if (sscanf(line, "rate %d %31s %lf", &gpu, field, &value) == 3) { add_step(gpu % MOST_GPUS, field, 0, 0, value); return; }
    if (sscanf(line, "process %d %u %llu", &gpu, &pid, &bytes) == 3) {
        struct gpu *g = &gpus[gpu % MOST_GPUS];
        if (g->processes < 16) g->process[g->processes++] = (struct process){pid, bytes};
        return;
    }
    if (*line != '#' && *line != '\n') fprintf(stderr, "standin_nvml: cannot read: %s", line);
}

static void load(void) {
    char line[256];
    const char *path = getenv("STANDIN_NVML");
    for (int i = 0; i < MOST_GPUS; i++) { gpus[i].index = i; defaults(i); }
    FILE *file = path ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof line, file)) read_line(line);
    if (file) fclose(file);
    loaded_at = now_s();
    loaded = 1;
}

/* What the rules say of this call: how long it takes and how it ends. */
static nvmlReturn_t enter(int gpu, const char *function) {
    int code = SUCCESS, slow_ms = 0;
    pthread_mutex_lock(&lock);
    if (!users && strncmp(function, "nvmlInit", 8) != 0) code = UNINITIALIZED;
    for (int i = 0; i < rule_count; i++) {
        struct rule *r = &rules[i];
        if (r->off || (r->gpu >= 0 && r->gpu != gpu) || (*r->function != '*' && strcmp(r->function, function) != 0)) continue;
        if (*r->function == '*' && gpu < 0) continue; /* `*` means every call about a GPU */
        int call = r->calls++;
        if (call < r->after || (r->count && call >= r->after + r->count)) continue;
        if (r->slow_ms) slow_ms = r->slow_ms; else if (!code) code = r->code;
    }
    pthread_mutex_unlock(&lock);
    if (slow_ms) nanosleep(&(struct timespec){slow_ms / 1000, slow_ms % 1000 * 1000000L}, NULL);
    return code;
}

#define ENTER(gpu) do { nvmlReturn_t code_ = enter(gpu, __func__); if (code_) return code_; } while (0)

static double value_of(nvmlDevice_t g, const char *field) {
    double value = 0, elapsed = now_s() - loaded_at, grown = 0;
    for (int i = 0; i < g->steps; i++) {
        struct step *s = &g->step[i];
        if (strcmp(s->field, field) != 0) continue;
        if (s->per_s != 0) grown += s->per_s * elapsed;
        else if (elapsed >= s->at_s) value = s->value;
    }
    return value + grown;
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!loaded) load();
    ENTER(-1);
    pthread_mutex_lock(&lock);
    users++;
    for (int i = 0; i < rule_count; i++) {
        if (rules[i].until_init && rules[i].calls > rules[i].after) rules[i].off = 1;
    }
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t nvmlShutdown(void) {
    ENTER(-1);
    pthread_mutex_lock(&lock);
    users--;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t code) { (void)code; return "told by the stand-in driver"; }

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    ENTER(-1);
    snprintf(version, length, "%s", driver_version);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) { ENTER(-1); *count = gpu_count; return SUCCESS; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    ENTER((int)index);
    if ((int)index >= gpu_count) return INVALID_ARGUMENT;
    *device = &gpus[index];
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    int index = -1;
    if (sscanf(uuid, "GPU-00000000-0000-0000-0000-%12d", &index) != 1 || index < 0 || index >= gpu_count) return NOT_FOUND;
    ENTER(index);
    *device = &gpus[index];
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t g, char *uuid, unsigned length) {
    ENTER(g->index);
    snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012d", g->index);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t g, char *name, unsigned length) {
    ENTER(g->index);
    snprintf(name, length, "Stand-in GPU %d", g->index);
    return SUCCESS;
}

struct memory { unsigned long long total, free, used; };
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t g, struct memory *m) {
    ENTER(g->index);
    m->total = value_of(g, "memory_total");
    m->used = value_of(g, "memory_used") + value_of(g, "memory_reserved"); /* as the first version does */
    m->free = m->total - m->used;
    return SUCCESS;
}

#ifndef OLD_DRIVER
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t g, struct memory_v2 *m) {
    ENTER(g->index);
    m->total = value_of(g, "memory_total");
    m->reserved = value_of(g, "memory_reserved");
    m->used = value_of(g, "memory_used");
    m->free = m->total - m->reserved - m->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t g, unsigned long long *bits) {
    ENTER(g->index);
    *bits = value_of(g, "event_reasons");
    return SUCCESS;
}

struct temperature { unsigned version, sensor; int celsius; };
nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t g, struct temperature *t) {
    ENTER(g->index);
    t->celsius = value_of(g, "temperature");
    return SUCCESS;
}

struct field_value {
    unsigned field, scope;
    long long timestamp, latency_us;
    unsigned type;
    nvmlReturn_t result;
    union { double d; unsigned long long ull; } value;
};
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t g, int count, struct field_value *values) {
    ENTER(g->index);
    for (int i = 0; i < count; i++) {
        values[i].result = values[i].field == 197 || values[i].field == 198 ? SUCCESS : NOT_SUPPORTED;
        values[i].value.ull = value_of(g, values[i].field == 197 ? "pcie_sent" : "pcie_received");
    }
    return SUCCESS;
}
#endif

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t g, unsigned long long *bits) {
    ENTER(g->index);
    *bits = value_of(g, "event_reasons");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t g, int sensor, unsigned *celsius) {
    (void)sensor;
    ENTER(g->index);
    *celsius = value_of(g, "temperature");
    return SUCCESS;
}

struct utilization { unsigned gpu, memory; };
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t g, struct utilization *u) {
    ENTER(g->index);
    u->gpu = value_of(g, "utilization");
    u->memory = value_of(g, "memory_utilization");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t g, unsigned *mw) { ENTER(g->index); *mw = value_of(g, "power"); return SUCCESS; }

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t g, unsigned *mw) {
    ENTER(g->index);
    *mw = value_of(g, "power_limit");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t g, unsigned long long *mj) {
    ENTER(g->index);
    *mj = value_of(g, "energy");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t g, int type, unsigned *mhz) {
    ENTER(g->index);
    *mhz = value_of(g, type == 1 ? "sm_clock" : "memory_clock");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t g, int error, int counter, unsigned long long *count) {
    (void)error, (void)counter;
    ENTER(g->index);
    *count = value_of(g, "ecc");
    return SUCCESS;
}

struct process_info { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
static nvmlReturn_t processes(nvmlDevice_t g, unsigned *count, struct process_info *found) {
    unsigned room = *count;
    *count = g->processes;
    if (room < *count) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++) found[i] = (struct process_info){g->process[i].pid, g->process[i].bytes, -1, -1};
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t g, unsigned *count, struct process_info *found) {
    ENTER(g->index);
    return processes(g, count, found);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t g, unsigned *count, struct process_info *found) {
    (void)found;
    ENTER(g->index);
    *count = 0;
    return SUCCESS;
}
