/* A stand-in for the NVIDIA driver's library: the tests build it as libnvidia-ml.so.1, and nvidia-ml-py loads it as the
 * real one. What it answers stands in a script, the file named by STANDIN_NVML:
 *
 *     driver 580.95.05
 *     gpus 2
 *     set GPU FIELD VALUE [AT_S]             the value from AT_S seconds after the first initialisation on (default 0)
 *     rate GPU FIELD PER_S                   it grows by so much a second
 *     process GPU PID BYTES
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
struct process { unsigned pid; unsigned long long bytes; };
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
    if (sscanf(line, "gpus %d", &gpu) == 1) { gpu_count = gpu < MOST_GPUS ? gpu : MOST_GPUS; return; }
    if (sscanf(line, "driver %79s", driver_version) == 1) return;
    if (strncmp(line, "fail ", 5) == 0) { add_rule(line, 0); return; }
    if (strncmp(line, "slow ", 5) == 0) { add_rule(line, 1); return; }
    if (sscanf(line, "set %d %31s %lf %lf", &gpu, field, &value, &at_s) >= 3) { add_step(gpu, field, value, at_s, 0); return; }
    if (sscanf(line, "rate %d %31s %lf", &gpu, field, &value) == 3) { add_step(gpu, field, 0, 0, value); return; }
    if (sscanf(line, "process %d %u %llu", &gpu, &pid, &bytes) == 3) {
        struct gpu *g = numbered(gpu);
        if (g->processes < 16) g->process[g->processes++] = (struct process){pid, bytes};
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

nvmlReturn_t nvmlEventSetWait_v2(struct event_set *set, struct event_data *data, unsigned timeout_ms) {
    ENTER(-1);
    if (check_set(set)) return INVALID_ARGUMENT;
    double until_s = now_s() + timeout_ms / 1e3;
    int found = 0, over = 0;
    pthread_mutex_lock(&lock);
    inside++;
    while (!(found = next_event(set, data)) && !over) {
        pthread_mutex_unlock(&lock);
        nanosleep(&(struct timespec){0, 10000000L}, NULL);
        pthread_mutex_lock(&lock);
        over = now_s() >= until_s;
    }
    inside--;
    pthread_mutex_unlock(&lock);
    return found ? SUCCESS : TIMED_OUT;
}
#endif

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
