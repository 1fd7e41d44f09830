/*
 * libnvidia-ml.so.1 without a driver: what nvml.h of CUDA 13 says, for the functions that the agent calls. Two GPUs,
 * an H100 and an A100 with MIG. The file named by FAKE_NVML changes it:
 *   "init 9"         nvmlInit_v2 answers 9
 *   "hang NAME"      the function of that name sleeps until the file is gone
 *   "xid GPU CODE"   one Xid event, told once per change of the file
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

typedef struct { int index; } device_t;
static device_t devices[2] = {{0}, {1}};
static long told_inode = 0;
static int registered = 0;

static int words(char *verb, char *first, int *second) {
  const char *path = getenv("FAKE_NVML");
  FILE *file = path ? fopen(path, "r") : NULL;
  if (!file) return 0;
  int n = fscanf(file, "%31s %63s %d", verb, first, second);
  fclose(file);
  return n;
}

static void may_hang(const char *name) {
  char verb[32], first[64];
  int second;
  while (words(verb, first, &second) >= 2 && !strcmp(verb, "hang") && !strcmp(first, name)) usleep(10000);
}

static int text(char *out, unsigned length, const char *value) {
  if (strlen(value) + 1 > length) return 7;
  strcpy(out, value);
  return 0;
}

int nvmlInit_v2(void) {
  char verb[32], first[64];
  int second;
  return words(verb, first, &second) >= 2 && !strcmp(verb, "init") ? atoi(first) : 0;
}
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *out, unsigned length) { return text(out, length, "615.12"); }
int nvmlSystemGetNVMLVersion(char *out, unsigned length) { return text(out, length, "13.615.12"); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13040; return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **device) {
  if (index > 1) return 2;
  *device = &devices[index];
  return 0;
}
int nvmlDeviceGetUUID(device_t *device, char *out, unsigned length) {
  return text(out, length, device->index ? "GPU-bbbbbbbb-0000-0000-0000-000000000001" : "GPU-aaaaaaaa-0000-0000-0000-000000000000");
}
int nvmlDeviceGetName(device_t *device, char *out, unsigned length) {
  return text(out, length, device->index ? "NVIDIA A100-SXM4-80GB" : "NVIDIA H100 80GB HBM3");
}
int nvmlDeviceGetMemoryInfo(device_t *device, uint64_t *memory) {
  may_hang("nvmlDeviceGetMemoryInfo");
  memory[0] = 85520809984ull;
  memory[1] = 85520809984ull - 1073741824ull;
  memory[2] = 1073741824ull;
  (void)device;
  return 0;
}
int nvmlDeviceGetUtilizationRates(device_t *device, unsigned *rates) {
  if (device->index) return 3; /* as under MIG */
  rates[0] = 37;
  rates[1] = 12;
  return 0;
}
int nvmlDeviceGetComputeMode(device_t *device, unsigned *mode) { *mode = device->index ? 0 : 3; return 0; }
int nvmlDeviceGetTotalEccErrors(device_t *device, unsigned type, unsigned counter, uint64_t *count) {
  if (type != 1 || counter != 0) return 2;
  *count = device->index ? 2 : 0;
  return 0;
}
int nvmlDeviceGetNumGpuCores(device_t *device, unsigned *cores) { *cores = device->index ? 6912 : 16896; return 0; }
int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor) {
  *major = device->index ? 8 : 9;
  *minor = 0;
  return 0;
}
int nvmlDeviceGetMigMode(device_t *device, unsigned *current, unsigned *pending) {
  *current = *pending = device->index;
  return 0;
}
int nvmlDeviceGetNvLinkState(device_t *device, unsigned link, unsigned *active) {
  if (link >= (device->index ? 0 : 4)) return 2;
  *active = link != 3;
  return 0;
}
struct process { unsigned pid; uint64_t used; unsigned gpu_instance, compute_instance; };
int nvmlDeviceGetMPSComputeRunningProcesses_v3(device_t *device, unsigned *count, struct process *rows) {
  if (device->index) return 3;
  if (*count < 2) return 7;
  *count = 2;
  rows[0] = (struct process){4711, 5368709120ull, 0xffffffffu, 0xffffffffu};
  rows[1] = (struct process){4712, 0xffffffffffffffffull, 0xffffffffu, 0xffffffffu};
  return 0;
}
int nvmlDeviceGetTopologyCommonAncestor(device_t *a, device_t *b, unsigned *level) { *level = 30; (void)a; (void)b; return 0; }
int nvmlDeviceGetP2PStatus(device_t *a, device_t *b, unsigned capability, unsigned *status) {
  (void)a;
  (void)b;
  *status = capability == 2 ? 0 : 5;
  return 0;
}
int nvmlEventSetCreate(uint64_t *set) { *set = 0x5e7; return 0; }
int nvmlEventSetFree(uint64_t set) { return set == 0x5e7 ? 0 : 2; }
int nvmlDeviceRegisterEvents(device_t *device, uint64_t types, uint64_t set) {
  if (types != 8 || set != 0x5e7) return 3;
  registered |= 1 << device->index;
  return 0;
}
struct event { device_t *device; uint64_t type, data; unsigned gpu_instance, compute_instance; };
int nvmlEventSetWait_v2(uint64_t set, struct event *event, unsigned timeout_ms) {
  char verb[32], first[64];
  int second = 0;
  struct stat now;
  const char *path = getenv("FAKE_NVML");
  (void)timeout_ms;
  if (set != 0x5e7 || !registered) return 2;
  if (words(verb, first, &second) != 3 || strcmp(verb, "xid") || stat(path, &now) || now.st_ino == told_inode) return 10;
  told_inode = now.st_ino;
  *event = (struct event){&devices[atoi(first)], 8, (uint64_t)second, 0xffffffffu, 0xffffffffu};
  return 0;
}
