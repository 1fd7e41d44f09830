/*
 * cc -std=c11 -O2 -o example example.c, or c++ -std=c++17 -x c++ -O2 ...; ./example SEGMENT COMMAND
 *   usage               prints blocks, and of each role usage, quota, turn
 *   hold ROLE N         takes N blocks, prints their numbers, waits for its input to end, frees them
 *   crash ROLE N        takes N blocks, prints their numbers, ends without freeing
 *   stamp ROLE PAIRS SIDE  as the stress workers in TypeScript do: token 9, stamps at word 8704 of SIDE
 *   left                leaves, then asks for a block and gives one back, then closes and asks again: prints the answers
 */
#include "fulcrum_kv_pool.h"

static int fail(const char *what, int code) {
  fprintf(stderr, "%s: %d\n", what, code);
  return 1;
}

static void print_blocks(const uint32_t *blocks, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 1) printf("%s%u", i == 0 ? "" : " ", blocks[i]);
  printf("\n");
  fflush(stdout);
}

static uint32_t swap(uint32_t *word, uint32_t value) { return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST); }

static int left(fkv_pool *pool) {
  fkv_owner me;
  uint32_t block;
  int rc = fkv_attach(pool, FKV_DECODE, 0, 1000, &me);
  if (rc != FKV_OK || fkv_allocate(&me, 1, &block) != FKV_OK) return fail("attach", rc);
  uint32_t freed = fkv_detach(&me);
  int taken = fkv_allocate(&me, 1, &block), given = fkv_free(&me, &block, 1), armed = fkv_arm(&me, 1);
  printf("%u %d %d %d ", freed, taken == FKV_DETACHED, given == FKV_DETACHED, armed == FKV_DETACHED);
  rc = fkv_attach(pool, FKV_DECODE, 0, 1000, &me);
  if (rc != FKV_OK) return fail("attach again", rc);
  fkv_close(pool);
  printf("%d %u\n", fkv_allocate(&me, 1, &block) == FKV_DETACHED, fkv_detach(&me));
  return 0;
}

static int stamp(fkv_owner *me, long pairs, const char *path) {
  enum { TOKEN = 9, STAMPS = 512 + 8192, HELD = 32, MOST = 24 };
  static uint32_t held[HELD][MOST], sizes[HELD];
  int fd = open(path, O_RDWR);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) return fail("side area", errno);
  uint32_t *stamps = (uint32_t *)mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if ((void *)stamps == MAP_FAILED) return fail("mmap", errno);
  uint32_t seed = 12345;
  long done = 0, doubles = 0;
  while (done < pairs) {
    seed = seed * 1664525u + 1013904223u;
    uint32_t i = (seed >> 8) % HELD, n = 1 + (seed >> 16) % MOST;
    if (sizes[i] == 0) {
      if (fkv_allocate(me, n, held[i]) != FKV_OK) n = 0;
      sizes[i] = n;
      for (uint32_t k = 0; k < n; k += 1) doubles += swap(&stamps[STAMPS + held[i][k]], TOKEN) != 0;
      continue;
    }
    for (uint32_t k = 0; k < sizes[i]; k += 1) doubles += swap(&stamps[STAMPS + held[i][k]], 0) != TOKEN;
    int rc = fkv_free(me, held[i], sizes[i]);
    if (rc != FKV_OK) return fail("free", rc);
    sizes[i] = 0;
    done += 1;
  }
  for (uint32_t i = 0; i < HELD; i += 1) {
    for (uint32_t k = 0; k < sizes[i]; k += 1) doubles += swap(&stamps[STAMPS + held[i][k]], 0) != TOKEN;
    if (sizes[i] > 0 && fkv_free(me, held[i], sizes[i]) != FKV_OK) return fail("last free", 0);
  }
  printf("%ld %u\n", doubles, fkv_detach(me));
  return 0;
}

int main(int argc, char **argv) {
  fkv_pool pool;
  fkv_owner me;
  char why[256];
  if (argc < 3) return fail("usage: example SEGMENT COMMAND ...", argc);
  int rc = fkv_open(&pool, argv[1], why, sizeof why);
  if (rc != FKV_OK) return fail(why, rc);
  if (strcmp(argv[2], "usage") == 0) {
    printf("%u %u %u %u %u %u %u\n", pool.blocks, fkv_usage(&pool, FKV_PREFILL), fkv_quota(&pool, FKV_PREFILL),
           fkv_turn(&pool, FKV_PREFILL), fkv_usage(&pool, FKV_DECODE), fkv_quota(&pool, FKV_DECODE),
           fkv_turn(&pool, FKV_DECODE));
    return 0;
  }
  if (strcmp(argv[2], "left") == 0) return left(&pool);
  if (argc < 5) return fail("ROLE and N are missing", argc);
  int role = strcmp(argv[3], "prefill") == 0 ? FKV_PREFILL : FKV_DECODE;
  rc = fkv_attach(&pool, role, fkv_turn(&pool, role), 1000, &me);
  if (rc != FKV_OK) return fail("attach", rc);
  if (strcmp(argv[2], "stamp") == 0) return argc < 6 ? fail("SIDE is missing", argc) : stamp(&me, atol(argv[4]), argv[5]);
  uint32_t n = (uint32_t)atoi(argv[4]);
  uint32_t *blocks = (uint32_t *)malloc((n > 0 ? n : 1) * sizeof *blocks);
  if (blocks == NULL) return fail("malloc", errno);
  rc = fkv_allocate(&me, n, blocks);
  if (rc != FKV_OK) return fail("allocate", rc);
  print_blocks(blocks, n);
  if (strcmp(argv[2], "crash") == 0) return 0;
  while (getchar() != EOF) continue;
  rc = fkv_free(&me, blocks, n);
  if (rc != FKV_OK) return fail("free", rc);
  fkv_detach(&me);
  fkv_close(&pool);
  free(blocks);
  return 0;
}
