/* A stand-in for the NVIDIA driver's library: the tests build it as libnvidia-ml.so.1, and nvidia-ml-py loads it as the
 * real one. What it answers stands in a script, the file named by STANDIN_NVML:
 *
 *     driver 580.95.05
 *     gpus 2
 *     set GPU FIELD VALUE [AT_S]             the value from AT_S seconds after the first initialisation on (default 0)
 *     rate GPU FIELD PER_S                   it grows by so much a second
 *     process GPU PID BYTES [KIND]           KIND is compute (default), graphics or both; BYTES 18446744073709551615: not told
 *     mig GPU COUNT [AT_S]                   MIG is on and it has so many instances; instance I of GPU 0 is 100 + I, of GPU 1 110 + I
 *     gone GPU FROM_S TO_S                   lost from then on; listed and well again from the first initialisation after TO_S on
 *     xid GPU NUMBER AT_S                    told once to an event set that listens then; GPU may be an instance
 *     double_bit GPU AT_S                    likewise an ECC error that could not be corrected
 *     fail GPU FUNCTION CODE AFTER [COUNT]   after AFTER calls that match; COUNT calls long, or `init`: until initialised again
 *     slow GPU FUNCTION MS AFTER [COUNT]     such a call takes so long
 *
 * GPU and FUNCTION may be `*`; what is said of a GPU holds for calls about its instances, too. Units are the library's own: bytes, percent, milliwatts, millijoules, MHz.
 * Built with -DOLD_DRIVER it lacks what older drivers lack.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_GPUS 16
#define MOST_INSTANCES 7
#define FIRST_INSTANCE 100 /* its number in the script; ten numbers a GPU */
#define MOST_LINES 256

typedef int nvmlReturn_t;
typedef struct gpu *nvmlDevice_t;

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    TIMED_OUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25,
};

struct step { char field[32]; double value, at_s, per_s; };
struct process { unsigned pid; unsigned long long bytes; char kind[12]; };
struct gpu { /* or a MIG instance of one */
    int index, steps, processes; /* index: its number in the script */
    int listed; /* by the last initialisation, and not lost since */
    double gone_from_s, gone_to_s;
    struct gpu *parent; /* of an instance */
    struct step step[64];
    struct process process[16];
};
struct rule { int gpu, code, after, count, until_init, calls, slow_ms, off; char function[64]; };

struct event { int gpu, told; unsigned long long type, data; double at_s; };

static struct gpu gpus[MOST_GPUS], instances[MOST_GPUS][MOST_INSTANCES], *list[MOST_GPUS];
static struct rule rules[MOST_LINES];
static struct event events[MOST_LINES];
static int gpu_count = 1, list_count, rule_count, event_count, users, loaded, inside, initialised;
static char driver_version[80] = "580.95.05";
static double loaded_at;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static struct gpu *numbered(int number) {
    if (number < FIRST_INSTANCE) return &gpus[number % MOST_GPUS];
    number -= FIRST_INSTANCE;
    return &instances[number / 10 % MOST_GPUS][number % 10 % MOST_INSTANCES];
}

static int parent_of(int number) { return number < FIRST_INSTANCE ? number : (number - FIRST_INSTANCE) / 10 % MOST_GPUS; }

static void add_step(int gpu, const char *field, double value, double at_s, double per_s) {
    struct gpu *g = numbered(gpu);
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
        {"event_reasons", 0}, {"ecc", 0}, {"pcie_sent", 1000}, {"pcie_received", 2000}, {"event_types", 0xb},
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

static void add_event(int gpu, unsigned long long type, unsigned long long data, double at_s) {
    if (event_count < MOST_LINES) events[event_count++] = (struct event){gpu, 0, type, data, at_s};
}

static void read_line(const char *line) {
    char field[32];
    int gpu = 0, number;
    unsigned pid;
    unsigned long long bytes;
    double value, at_s = 0;
    char kind[12] = "compute";
    if (sscanf(line, "gpus %d", &gpu) == 1) { gpu_count = gpu < MOST_GPUS ? gpu : MOST_GPUS; return; }
    if (sscanf(line, "driver %79s", driver_version) == 1) return;
    if (strncmp(line, "fail ", 5) == 0) { add_rule(line, 0); return; }
    if (strncmp(line, "slow ", 5) == 0) { add_rule(line, 1); return; }
    if (sscanf(line, "set %d %31s %lf %lf", &gpu, field, &value, &at_s) >= 3) { add_step(gpu, field, value, at_s, 0); return; }
    if (sscanf(line, "rate %d %31s %lf", &gpu, field, &value) == 3) { add_step(gpu, field, 0, 0, value); return; }
    if (sscanf(line, "process %d %u %llu %11s", &gpu, &pid, &bytes, kind) >= 3) {
        struct gpu *g = numbered(gpu);
        if (g->processes < 16) {
            struct process *p = &g->process[g->processes++];
            p->pid = pid, p->bytes = bytes;
            memcpy(p->kind, kind, sizeof kind);
        }
        return;
    }
    if (sscanf(line, "mig %d %d %lf", &gpu, &number, &at_s) >= 2) { add_step(gpu, "mig", number, at_s, 0); return; }
    if (sscanf(line, "gone %d %lf %lf", &gpu, &value, &at_s) == 3) {
        numbered(gpu)->gone_from_s = value, numbered(gpu)->gone_to_s = at_s;
        return;
    }
    if (sscanf(line, "xid %d %d %lf", &gpu, &number, &at_s) == 3) { add_event(gpu, 8, number, at_s); return; }
    if (sscanf(line, "double_bit %d %lf", &gpu, &at_s) == 2) { add_event(gpu, 2, 0, at_s); return; }
    if (*line != '#' && *line != '\n') fprintf(stderr, "standin_nvml: cannot read: %s", line);
}

static void load(void) {
    char line[256];
    const char *path = getenv("STANDIN_NVML");
    for (int i = 0; i < MOST_GPUS; i++) {
        gpus[i].index = i;
        defaults(i);
        for (int k = 0; k < MOST_INSTANCES; k++) {
            instances[i][k].index = FIRST_INSTANCE + 10 * i + k, instances[i][k].parent = &gpus[i];
            defaults(instances[i][k].index);
        }
    }
    FILE *file = path ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof line, file)) read_line(line);
    if (file) fclose(file);
    loaded_at = now_s();
    loaded = 1;
}

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

static int is_gone(const struct gpu *g) {
    double elapsed = now_s() - loaded_at;
    return g->gone_to_s > 0 && elapsed >= g->gone_from_s && elapsed < g->gone_to_s;
}

/* What the GPU itself says of this call, whatever the rules say. */
static nvmlReturn_t state_of(int number, const char *function) {
    static const char *of_instances[] = {
        "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetUUID", "nvmlDeviceGetName",
        "nvmlDeviceIsMigDeviceHandle", "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", "nvmlDeviceGetGpuInstanceId",
        "nvmlDeviceGetComputeInstanceId", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v3",
    };
    struct gpu *g = &gpus[parent_of(number)];
    if (is_gone(g)) g->listed = 0;
    if (!g->listed) return GPU_IS_LOST;
    if (number < FIRST_INSTANCE) return SUCCESS;
    if ((number - FIRST_INSTANCE) % 10 >= value_of(g, "mig")) return NOT_FOUND;
    for (unsigned i = 0; i < sizeof of_instances / sizeof *of_instances; i++) {
        if (strcmp(function, of_instances[i]) == 0) return SUCCESS;
    }
    return NOT_SUPPORTED;
}

/* What the rules say of this call: how long it takes and how it ends. */
static nvmlReturn_t enter(int gpu, const char *function) {
    int code = SUCCESS, slow_ms = 0;
    pthread_mutex_lock(&lock);
    if (!users && strncmp(function, "nvmlInit", 8) != 0) code = UNINITIALIZED;
    else if (gpu >= 0) code = state_of(gpu, function);
    for (int i = 0; i < rule_count; i++) {
        struct rule *r = &rules[i];
        if (r->off || (r->gpu >= 0 && (gpu < 0 || (r->gpu != gpu && r->gpu != parent_of(gpu)))) || (*r->function != '*' && strcmp(r->function, function) != 0)) continue;
        if (*r->function == '*' && gpu < 0) continue; /* `*` means every call about a GPU */
        int call = r->calls++;
        if (call < r->after || (r->count && call >= r->after + r->count)) continue;
        if (r->slow_ms) slow_ms = r->slow_ms; else if (!code) code = r->code;
    }
    inside += slow_ms > 0;
    pthread_mutex_unlock(&lock);
    if (!slow_ms) return code;
    nanosleep(&(struct timespec){slow_ms / 1000, slow_ms % 1000 * 1000000L}, NULL);
    pthread_mutex_lock(&lock);
    inside--;
    pthread_mutex_unlock(&lock);
    return code;
}

#define ENTER(gpu) do { nvmlReturn_t code_ = enter(gpu, __func__); if (code_) return code_; } while (0)

/* The GPUs that are there now: the real library, too, looks for them when it is initialised, and then no more. */
static void list_gpus(void) {
    list_count = 0;
    for (int i = 0; i < gpu_count; i++) {
        gpus[i].listed = !is_gone(&gpus[i]);
        if (gpus[i].listed) list[list_count++] = &gpus[i];
    }
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!loaded) load();
    ENTER(-1);
    pthread_mutex_lock(&lock);
    if (!users++) initialised++, list_gpus();
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
    if (inside) fprintf(stderr, "standin_nvml: shut down under a thread that is inside\n");
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

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) { ENTER(-1); *count = list_count; return SUCCESS; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    ENTER((int)index < list_count ? list[index]->index : -1);
    if ((int)index >= list_count) return INVALID_ARGUMENT;
    *device = list[index];
    return SUCCESS;
}

static int place_of(const struct gpu *g) {
    for (int i = 0; i < list_count; i++) if (list[i] == g) return i;
    return -1;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t g, unsigned *index) {
    ENTER(g->index);
    *index = place_of(g);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    int index = -1, place = 0;
    if (sscanf(uuid, "GPU-00000000-0000-0000-0000-%12d", &index) == 1 && index >= 0 && index < MOST_GPUS) *device = &gpus[index];
    else if (sscanf(uuid, "MIG-00000000-0000-0000-%4d-%12d", &place, &index) == 2 && index >= 0 && index < MOST_GPUS
             && place >= 0 && place < MOST_INSTANCES) *device = &instances[index][place];
    else return NOT_FOUND;
    if (place_of(&gpus[index]) < 0) return NOT_FOUND;
    ENTER((*device)->index);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t g, char *uuid, unsigned length) {
    ENTER(g->index);
    if (g->parent) snprintf(uuid, length, "MIG-00000000-0000-0000-%04d-%012d", (int)(g - instances[g->parent->index]), g->parent->index);
    else snprintf(uuid, length, "GPU-00000000-0000-0000-0000-%012d", g->index);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t g, char *name, unsigned length) {
    ENTER(g->index);
    snprintf(name, length, "Stand-in GPU %d%s", parent_of(g->index), g->parent ? " MIG 1g.10gb" : "");
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
    if (m->version != (2u << 24 | sizeof *m)) return VERSION_MISMATCH;
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
    if (value_of(g, "mig") > 0) return NOT_SUPPORTED; /* the real one tells none of a GPU with MIG on */
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

#ifndef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t g, unsigned *current, unsigned *pending) {
    ENTER(g->index);
    *current = *pending = value_of(g, "mig") > 0;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t g, unsigned *count) {
    ENTER(g->index);
    *count = MOST_INSTANCES;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t g, unsigned place, nvmlDevice_t *instance) {
    if (g->parent || place >= MOST_INSTANCES) return INVALID_ARGUMENT;
    ENTER(instances[g->index][place].index);
    *instance = &instances[g->index][place];
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t g, unsigned *is_instance) {
    ENTER(g->index);
    *is_instance = g->parent != NULL;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t g, nvmlDevice_t *parent) {
    ENTER(g->index);
    *parent = g->parent;
    return g->parent ? SUCCESS : INVALID_ARGUMENT;
}

static unsigned gpu_instance_of(const struct gpu *g) { return g->parent ? g - instances[g->parent->index] + 1 : -1; }

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t g, unsigned *id) {
    ENTER(g->index);
    *id = gpu_instance_of(g);
    return g->parent ? SUCCESS : NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t g, unsigned *id) {
    ENTER(g->index);
    *id = 0;
    return g->parent ? SUCCESS : NOT_SUPPORTED;
}

/* Events: what a GPU has told since it was registered, to one wait each. A set ends with its initialisation. */
struct event_set { int initialised; unsigned long long types[MOST_GPUS]; double since_s[MOST_GPUS]; };
struct event_data { nvmlDevice_t device; unsigned long long type, data; unsigned gpu_instance, compute_instance; };

nvmlReturn_t nvmlEventSetCreate(struct event_set **set) {
    ENTER(-1);
    *set = calloc(1, sizeof **set);
    (*set)->initialised = initialised;
    return SUCCESS;
}

static nvmlReturn_t check_set(const struct event_set *set) {
    if (set->initialised == initialised) return SUCCESS;
    fprintf(stderr, "standin_nvml: an event set of an older initialisation\n");
    return INVALID_ARGUMENT;
}

nvmlReturn_t nvmlEventSetFree(struct event_set *set) {
    ENTER(-1);
    nvmlReturn_t code = check_set(set);
    if (!code) free(set);
    return code;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t g, unsigned long long *types) {
    ENTER(g->index);
    *types = value_of(g, "event_types");
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t g, unsigned long long types, struct event_set *set) {
    ENTER(g->index);
    if (check_set(set)) return INVALID_ARGUMENT;
    if (types & ~(unsigned long long)value_of(g, "event_types")) return NOT_SUPPORTED;
    set->types[g->index] |= types, set->since_s[g->index] = now_s() - loaded_at;
    return SUCCESS;
}

static int next_event(const struct event_set *set, struct event_data *data) {
    double elapsed = now_s() - loaded_at;
    for (int i = 0; i < event_count; i++) {
        struct event *e = &events[i];
        int gpu = parent_of(e->gpu), instance = e->gpu >= FIRST_INSTANCE;
        if (e->told || e->at_s > elapsed || e->at_s < set->since_s[gpu] || !(set->types[gpu] & e->type)) continue;
        e->told = 1;
        *data = (struct event_data){&gpus[gpu], e->type, e->data, -1, -1};
        if (instance) data->gpu_instance = gpu_instance_of(numbered(e->gpu)), data->compute_instance = 0;
        return 1;
    }
    return 0;
}

/* When there may be something new to tell, at the latest `until_s`. */
static double next_moment(double until_s) {
    double now = now_s();
    for (int i = 0; i < event_count; i++) {
        double at_s = events[i].at_s + loaded_at;
        if (!events[i].told && at_s > now && at_s < until_s) until_s = at_s;
    }
    return until_s;
}

nvmlReturn_t nvmlEventSetWait_v2(struct event_set *set, struct event_data *data, unsigned timeout_ms) {
    ENTER(-1);
    if (check_set(set)) return INVALID_ARGUMENT;
    double until_s = now_s() + timeout_ms / 1e3;
    int found = 0;
    pthread_mutex_lock(&lock);
    inside++;
    while (!(found = next_event(set, data)) && now_s() < until_s) {
        double sleep_s = next_moment(until_s) - now_s();
        pthread_mutex_unlock(&lock);
        if (sleep_s > 0) nanosleep(&(struct timespec){(long)sleep_s, (long)(sleep_s * 1e9) % 1000000000L + 1}, NULL);
        pthread_mutex_lock(&lock);
    }
    inside--;
    pthread_mutex_unlock(&lock);
    return found ? SUCCESS : TIMED_OUT;
}
#endif

struct process_info { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
static nvmlReturn_t processes(nvmlDevice_t g, const char *kind, unsigned *count, struct process_info *found) {
    unsigned room = *count, n = 0;
    for (int i = 0; i < g->processes; i++) {
        const struct process *p = &g->process[i];
        if (strcmp(p->kind, kind) != 0 && strcmp(p->kind, "both") != 0) continue;
        if (n < room) found[n] = (struct process_info){p->pid, p->bytes, -1, -1};
        n++;
    }
    *count = n;
    return n > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#ifdef OLD_DRIVER
#define nvmlDeviceGetComputeRunningProcesses_v3 nvmlDeviceGetComputeRunningProcesses_v2
#define nvmlDeviceGetGraphicsRunningProcesses_v3 nvmlDeviceGetGraphicsRunningProcesses_v2
#endif

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t g, unsigned *count, struct process_info *found) {
    ENTER(g->index);
    return processes(g, "compute", count, found);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t g, unsigned *count, struct process_info *found) {
    ENTER(g->index);
    return processes(g, "graphics", count, found);
}

/* What follows has defaults of its own: a field that the script does not set has the value given here. */
static double value_or(nvmlDevice_t g, const char *field, double otherwise) {
    for (int i = 0; i < g->steps; i++) if (strcmp(g->step[i].field, field) == 0) return value_of(g, field);
    return otherwise;
}

static unsigned long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

#define UNSIGNED(function, field, otherwise) \
    nvmlReturn_t function(nvmlDevice_t g, unsigned *value) { \
        ENTER(g->index); \
        *value = value_or(g, field, otherwise); \
        return SUCCESS; \
    }

UNSIGNED(nvmlDeviceGetPerformanceState, "performance_state", 0)
UNSIGNED(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation", 4)
UNSIGNED(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_generation_most", 5)
UNSIGNED(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width", 8)
UNSIGNED(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_most", 16)
UNSIGNED(nvmlDeviceGetFanSpeed, "fan", 35)
UNSIGNED(nvmlDeviceGetPersistenceMode, "persistence", 1)
UNSIGNED(nvmlDeviceGetComputeMode, "compute_mode", 0)
UNSIGNED(nvmlDeviceGetPowerManagementDefaultLimit, "power_limit_default", 650000)

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t g, int type, unsigned *mhz) {
    ENTER(g->index);
    *mhz = value_or(g, type == 1 ? "sm_clock_most" : "memory_clock_most", type == 1 ? 2100 : 2700);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t g, int threshold, unsigned *celsius) {
    ENTER(g->index);
    if (threshold != 1) return NOT_SUPPORTED;
    *celsius = value_or(g, "slowdown", 90);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t g, unsigned *percent, unsigned *period_us) {
    ENTER(g->index);
    *percent = value_or(g, "encoder", 5), *period_us = 167000;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t g, unsigned *percent, unsigned *period_us) {
    ENTER(g->index);
    *percent = value_or(g, "decoder", 6), *period_us = 167000;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t g, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    ENTER(g->index);
    *corrected = value_or(g, "remapped_corrected", 0), *uncorrected = value_or(g, "remapped_uncorrected", 0);
    *pending = value_or(g, "remapping_pending", 0), *failed = value_or(g, "remapping_failed", 0);
    return SUCCESS;
}

/* Nanoseconds in all; of policies the script knows power (0) and heat (1). */
struct violation { unsigned long long reference_us, ns; };
nvmlReturn_t nvmlDeviceGetViolationStatus(nvmlDevice_t g, int policy, struct violation *v) {
    ENTER(g->index);
    if (policy > 1) return NOT_SUPPORTED;
    *v = (struct violation){now_us(), value_or(g, policy ? "thermal_throttled" : "power_throttled", 0)};
    return SUCCESS;
}

/* `set GPU nvlinks 4`, `set GPU nvlinks_up 3` */
nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t g, unsigned link, unsigned *active) {
    ENTER(g->index);
    if (link >= 18) return INVALID_ARGUMENT;
    if (link >= value_or(g, "nvlinks", 0)) return NOT_SUPPORTED;
    *active = link < value_or(g, "nvlinks_up", 18);
    return SUCCESS;
}

#ifndef OLD_DRIVER
/* A value's own code is NOT_SUPPORTED for what is not in this table, and what `set GPU code_ID CODE` says. */
static const struct { unsigned field, type; const char *name; double otherwise; } known_fields[] = {
    {3, 3, "ecc_corrected", 0}, {4, 3, "ecc", 0}, {6, 3, "ecc_lifetime", 0}, {74, 3, "power_throttled", 0},
    {75, 3, "thermal_throttled", 0}, {82, 1, "memory_temperature", 60}, {94, 1, "pcie_replays", 0},
    {138, 3, "nvlink_sent", 0}, {139, 3, "nvlink_received", 0}, {197, 3, "pcie_sent", 0}, {198, 3, "pcie_received", 0},
    {38, 3, "nvlink_crc_flit", 0}, {45, 3, "nvlink_crc_data", 0}, {52, 3, "nvlink_replays", 0}, {59, 3, "nvlink_recoveries", 0},
};

struct field_value {
    unsigned field, scope;
    long long timestamp, latency_us;
    unsigned type;
    nvmlReturn_t result;
    union { double d; unsigned u; unsigned long long ull; } value;
};

static void tell_field(nvmlDevice_t g, struct field_value *v) {
    char code[32];
    snprintf(code, sizeof code, "code_%u", v->field);
    int of_links = v->field == 138 || v->field == 139 || (v->field >= 38 && v->field <= 59);
    v->result = value_or(g, code, of_links && value_or(g, "nvlinks", 0) == 0 ? NOT_SUPPORTED : SUCCESS);
    v->timestamp = now_us();
    if ((v->field == 138 || v->field == 139) && v->scope != 0xffffffff) v->result = INVALID_ARGUMENT; /* all links, or nothing */
    for (unsigned i = 0; i < sizeof known_fields / sizeof *known_fields; i++) {
        if (known_fields[i].field != v->field) continue;
        double value = value_or(g, known_fields[i].name, known_fields[i].otherwise);
        v->type = known_fields[i].type;
        v->value.ull = 0xdeadbeef00000000; /* what is above a narrow value is noise */
        if (v->type == 1) v->value.u = value; else v->value.ull = value;
        return;
    }
    if (v->result == SUCCESS) v->result = NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t g, int count, struct field_value *values) {
    ENTER(g->index);
    for (int i = 0; i < count; i++) tell_field(g, &values[i]);
    return SUCCESS;
}

/* Utilisation samples: one every `sample_ms` (0: none at all), the newest 100 are kept; every fourth tells
 * `utilization_peak` instead of `utilization`. `sample_type` is the type of their values. */
struct sample { unsigned long long timestamp_us; union { double d; unsigned u; unsigned long long ull; } value; };

static void fill_sample(nvmlDevice_t g, struct sample *s, unsigned long long number, unsigned long long step_us, unsigned type) {
    double usual = value_of(g, "utilization"), value = number % 4 ? usual : value_or(g, "utilization_peak", usual);
    s->timestamp_us = number * step_us;
    s->value.ull = 0xdeadbeef00000000;
    if (type == 0) s->value.d = value; else if (type == 1) s->value.u = value; else s->value.ull = value;
}

nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t g, int kind, unsigned long long since_us, unsigned *type, unsigned *count, struct sample *samples) {
    ENTER(g->index);
    if (kind != 1 || value_of(g, "mig") > 0) return NOT_SUPPORTED;
    unsigned long long step_us = 1000 * (unsigned long long)value_or(g, "sample_ms", 100);
    *type = value_or(g, "sample_type", 1);
    if (!samples) { *count = 100; return SUCCESS; }
    if (*count < 100) return INSUFFICIENT_SIZE;
    if (!step_us) return NOT_FOUND;
    unsigned long long last = now_us() / step_us, first = since_us / step_us + 1;
    if (first + 100 <= last) first = last - 99;
    for (*count = 0; first <= last; first++) fill_sample(g, &samples[(*count)++], first, step_us, *type);
    return *count ? SUCCESS : NOT_FOUND;
}

/* A sample of each process every 500 ms, of the processes that `set GPU sm_PID PERCENT` speaks of. */
struct process_sample { unsigned pid; unsigned long long timestamp_us; unsigned sm, memory, encoder, decoder; };
nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t g, struct process_sample *samples, unsigned *count, unsigned long long since_us) {
    ENTER(g->index);
    unsigned room = *count;
    unsigned long long stamp_us = now_us() / 500000 * 500000;
    *count = 0;
    for (int i = 0; stamp_us > since_us && i < g->processes; i++) {
        char field[32];
        snprintf(field, sizeof field, "sm_%u", g->process[i].pid);
        double percent = value_or(g, field, -1);
        if (percent < 0) continue;
        if (*count < room) samples[*count] = (struct process_sample){g->process[i].pid, stamp_us, percent, 0, 0, 0};
        ++*count;
    }
    return *count > room ? INSUFFICIENT_SIZE : *count ? SUCCESS : NOT_FOUND;
}

/* GPM, on chips that have it (`set GPU gpm 0`: not on this one). Samples are few: who does not free them gets no more. */
#define MOST_GPM_SAMPLES (2 * (MOST_GPUS + 8))
struct gpm_sample { int used, gpu; double at_s; };
struct gpm_support { unsigned version, supported; };
struct gpm_metric { unsigned id; nvmlReturn_t result; double value; const char *names[3]; };
struct gpm_request { unsigned version, count; struct gpm_sample *before, *after; struct gpm_metric metrics[]; };
static struct gpm_sample gpm_samples[MOST_GPM_SAMPLES];

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t g, struct gpm_support *support) {
    ENTER(g->index);
    if (support->version != 1) return VERSION_MISMATCH;
    support->supported = value_or(g, "gpm", 1);
    return SUCCESS;
}

nvmlReturn_t nvmlGpmSampleAlloc(struct gpm_sample **sample) {
    ENTER(-1);
    for (int i = 0; i < MOST_GPM_SAMPLES; i++) {
        if (gpm_samples[i].used) continue;
        gpm_samples[i] = (struct gpm_sample){1, -1, 0};
        *sample = &gpm_samples[i];
        return SUCCESS;
    }
    return 20; /* NVML_ERROR_MEMORY */
}

nvmlReturn_t nvmlGpmSampleFree(struct gpm_sample *sample) {
    ENTER(-1);
    if (!sample->used) fprintf(stderr, "standin_nvml: a GPM sample freed twice\n");
    sample->used = 0;
    return SUCCESS;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t g, struct gpm_sample *sample) {
    ENTER(g->index);
    if (value_of(g, "mig") > 0) return NOT_SUPPORTED;
    sample->gpu = g->index, sample->at_s = now_s();
    return SUCCESS;
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t g, unsigned gpu_instance, struct gpm_sample *sample) {
    ENTER(g->index);
    if (gpu_instance < 1 || gpu_instance > MOST_INSTANCES) return INVALID_ARGUMENT;
    sample->gpu = instances[g->index][gpu_instance - 1].index, sample->at_s = now_s();
    return SUCCESS;
}

nvmlReturn_t nvmlGpmMetricsGet(struct gpm_request *request) {
    if (request->version != 1) return VERSION_MISMATCH;
    const struct gpm_sample *before = request->before, *after = request->after;
    if (before->gpu < 0 || before->gpu != after->gpu || before->at_s >= after->at_s) return INVALID_ARGUMENT;
    ENTER(parent_of(after->gpu));
    for (unsigned i = 0; i < request->count; i++) {
        char field[32];
        struct gpm_metric *m = &request->metrics[i];
        snprintf(field, sizeof field, "gpm_code_%u", m->id);
        m->result = value_or(numbered(after->gpu), field, SUCCESS);
        snprintf(field, sizeof field, "gpm_%u", m->id);
        m->value = value_or(numbered(after->gpu), field, 10.0 * m->id); /* percent */
    }
    return SUCCESS;
}
#endif
