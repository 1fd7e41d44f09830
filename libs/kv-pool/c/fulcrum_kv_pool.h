/*
 * fulcrum_kv_pool.h: the KV block pool of docs/kv-pool.md for engines in C11 or C++17 and later, by gcc or clang
 * (their __atomic builtins mean the same in both languages). Header only, in any order with other headers and with no
 * feature macro; Linux and macOS. The same layout, the same steps and the same crash rules as libs/kv-pool/src.
 * What it leaves to the TypeScript side: making a segment, adopting, taking back what the dead held, setting quotas.
 *
 *   fkv_pool pool; fkv_owner me; char why[256]; uint32_t blocks[4];
 *   if (fkv_open(&pool, "/dev/shm/pool-0", why, sizeof why) != FKV_OK) fail(why);
 *   if (fkv_attach(&pool, FKV_DECODE, turn, 1000, &me) != FKV_OK) ...
 *   if (fkv_allocate(&me, 4, blocks) == FKV_OK) { ...; fkv_free(&me, blocks, 4); }
 *   fkv_detach(&me); fkv_close(&pool);
 *
 * An owner belongs to one thread and must not be used after fork() in the child. What has left, or whose pool is closed,
 * is answered FKV_DETACHED.
 */
#ifndef FULCRUM_KV_POOL_H
#define FULCRUM_KV_POOL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  FKV_OK = 0,
  FKV_NO_ROOM,
  FKV_OVER_QUOTA,
  FKV_STALE_TURN,
  /* of fkv_open */
  FKV_NOT_FOUND,
  FKV_WRONG_SIZE,
  FKV_BAD_MAGIC,
  FKV_BAD_VERSION,
  FKV_CORRUPT,
  FKV_IO,
  /* of the others */
  FKV_NO_SLOT,
  FKV_TIMEOUT,
  FKV_BAD_ARGUMENT,
  FKV_BLOCK_OUT_OF_RANGE,
  FKV_REPEATED_BLOCK,
  FKV_DOUBLE_FREE,
  FKV_FOREIGN_BLOCK,
  FKV_DETACHED
};

enum { FKV_PREFILL = 0, FKV_DECODE = 1 };

/* Words, as in src/layout.ts. */
enum {
  FKV_W_TOTAL_BYTES = 2,
  FKV_W_BLOCKS = 3,
  FKV_W_TOKENS_PER_BLOCK = 4,
  FKV_W_CHECKSUM = 10,
  FKV_W_JOURNAL = 17, /* valid, to, from, map word, fields, moved before */
  FKV_W_PREFILL = 32,
  FKV_W_DECODE = 48, /* quota, revision, turn, owners */
  FKV_W_SLOTS = 64,  /* pid, start low, start high, pid namespace, turn, charged, moved, joins */
  FKV_SLOT_WORDS = 32,
  FKV_SLOTS = 14,
  FKV_W_MAP = FKV_W_SLOTS + FKV_SLOTS * FKV_SLOT_WORDS,
  FKV_HEADER_WORDS = FKV_W_CHECKSUM + 1
};
#define FKV_MAGIC 0x50564b46u
#define FKV_VERSION 1u
#define FKV_MAX_BLOCKS (1u << 24)
#define FKV_LOW_BITS 0x11111111u

/* Everything shared is read and written through these: sequentially consistent, as JavaScript's Atomics. */
static inline uint32_t fkv_load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline void fkv_store(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }
static inline int fkv_compare_exchange(uint32_t *word, uint32_t *seen, uint32_t next) {
  return __atomic_compare_exchange_n(word, seen, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

typedef struct {
  uint32_t *words; /* NULL once closed */
  size_t bytes;
  int fd;
  uint32_t blocks, tokens_per_block, map_words;
} fkv_pool;

typedef struct {
  fkv_pool *pool;
  uint32_t slot, id, at, role_at, turn, charged, hint; /* id: slot + 1, 0 once it has left */
} fkv_owner;

/* ---- fields: eight blocks to a map word, four bits each ---- */

static inline uint32_t fkv_free_fields(uint32_t word) {
  uint32_t pairs = word | (word >> 1);
  return ~(pairs | (pairs >> 2)) & FKV_LOW_BITS;
}
static inline uint32_t fkv_fields_of(uint32_t word, uint32_t id) {
  return fkv_free_fields(word ^ (FKV_LOW_BITS * id));
}
static inline uint32_t fkv_count_fields(uint32_t mask) { return (mask * FKV_LOW_BITS) >> 28; }
static inline uint32_t fkv_low_bit(uint32_t mask) { return mask & (~mask + 1u); }
/* The index 0..7 of a mask's lowest field; the mask is not 0. */
static inline uint32_t fkv_lowest_field(uint32_t mask) {
  uint32_t index = 0;
  while ((mask & 0xfu) == 0) mask >>= 4, index += 1;
  return index;
}

/* Replaces `from` by `to` in those of the chosen fields that hold it, in one step. Returns the fields that changed. */
static inline uint32_t fkv_replace_fields(fkv_pool *pool, uint32_t at, uint32_t chosen, uint32_t from, uint32_t to) {
  uint32_t seen = fkv_load(&pool->words[at]);
  for (;;) {
    uint32_t fields = fkv_fields_of(seen, from) & chosen;
    if (fields == 0) return 0;
    if (fkv_compare_exchange(&pool->words[at], &seen, (seen & ~(fields * 15u)) | (fields * to))) return fields;
  }
}

/* ---- the segment ---- */

static inline uint32_t fkv_crc32(const uint8_t *bytes, size_t n) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < n; i += 1) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit += 1) crc = (crc >> 1) ^ (0xedb88320u & (~(crc & 1u) + 1u));
  }
  return ~crc;
}

/* Of the file's first FKV_HEADER_WORDS words and its size. */
static inline int fkv_check_header(const uint32_t *w, uint64_t bytes, const char *path, char *why, size_t n) {
  const uint64_t least = (FKV_W_MAP + 1u) * 4u, most = (FKV_W_MAP + FKV_MAX_BLOCKS / 8u) * 4u;
  if (bytes < least || bytes > most) {
    const char *end = bytes < least ? "smallest" : "largest";
    snprintf(why, n, "%s: %llu bytes; the %s pool has %llu", path, (unsigned long long)bytes, end,
             (unsigned long long)(bytes < least ? least : most));
    return FKV_WRONG_SIZE;
  }
  if (w[0] != FKV_MAGIC) {
    snprintf(why, n, "%s: magic is 0x%x, must be 0x%x", path, w[0], FKV_MAGIC);
    return FKV_BAD_MAGIC;
  }
  if (w[1] != FKV_VERSION) {
    snprintf(why, n, "%s: layout version is %u; this reads version %u", path, w[1], FKV_VERSION);
    return FKV_BAD_VERSION;
  }
  uint32_t crc = fkv_crc32((const uint8_t *)w, FKV_W_CHECKSUM * 4);
  if (w[FKV_W_CHECKSUM] != crc) {
    snprintf(why, n, "%s: header checksum is 0x%x, its fields give 0x%x", path, w[FKV_W_CHECKSUM], crc);
    return FKV_CORRUPT;
  }
  if (w[FKV_W_TOTAL_BYTES] != bytes) {
    snprintf(why, n, "%s: the file has %llu bytes, its header says %u", path, (unsigned long long)bytes, w[2]);
    return FKV_WRONG_SIZE;
  }
  uint32_t blocks = w[FKV_W_BLOCKS], map_words = (blocks + 7) / 8;
  if (blocks < 1 || blocks > FKV_MAX_BLOCKS || w[6] != FKV_SLOTS || w[7] != FKV_W_SLOTS * 4u || w[8] != FKV_W_MAP * 4u ||
      w[9] != map_words || bytes != (FKV_W_MAP + (uint64_t)map_words) * 4) {
    snprintf(why, n, "%s: block count %u (1..%u) and the offsets do not agree", path, blocks, FKV_MAX_BLOCKS);
    return FKV_CORRUPT;
  }
  return FKV_OK;
}

static inline int fkv_open_file(const char *path) {
#ifdef O_CLOEXEC
  return open(path, O_RDWR | O_CLOEXEC);
#else /* strict C11 hides it where another header came first */
  int fd = open(path, O_RDWR);
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
#endif
}

/*
 * Checks a segment, before it is mapped, and maps it. On failure returns FKV_NOT_FOUND .. FKV_IO, says in `why` which
 * field and bound, and keeps nothing.
 */
static inline int fkv_open(fkv_pool *pool, const char *path, char *why, size_t why_bytes) {
  memset(pool, 0, sizeof *pool);
  pool->fd = -1;
  int fd = fkv_open_file(path);
  if (fd < 0) {
    snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
    return errno == ENOENT ? FKV_NOT_FOUND : FKV_IO;
  }
  struct stat st;
  uint32_t w[FKV_HEADER_WORDS] = {0};
  if (fstat(fd, &st) != 0 || read(fd, w, sizeof w) < 0) {
    snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
    close(fd);
    return FKV_IO;
  }
  int rc = fkv_check_header(w, (uint64_t)st.st_size, path, why, why_bytes);
  if (rc != FKV_OK) {
    close(fd);
    return rc;
  }
  void *at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    snprintf(why, why_bytes, "%s: mmap of %llu bytes: %s", path, (unsigned long long)st.st_size, strerror(errno));
    close(fd);
    return FKV_IO;
  }
  pool->words = (uint32_t *)at;
  pool->bytes = (size_t)st.st_size;
  pool->fd = fd;
  pool->blocks = w[FKV_W_BLOCKS];
  pool->tokens_per_block = w[FKV_W_TOKENS_PER_BLOCK];
  pool->map_words = w[9];
  return FKV_OK;
}

/* May be repeated. Usage, turns and joining are not to be called afterwards; owners answer FKV_DETACHED. */
static inline void fkv_close(fkv_pool *pool) {
  if (pool->words == NULL) return;
  munmap(pool->words, pool->bytes);
  close(pool->fd);
  pool->words = NULL;
  pool->fd = -1;
}

/* ---- usage and turns, without a lock ---- */

static inline uint32_t fkv_role_word(int role) { return role == FKV_PREFILL ? FKV_W_PREFILL : FKV_W_DECODE; }

/*
 * Blocks charged to a role: never fewer than its owners hold. All `moved` first, then who is in the role, then `charged`:
 * `moved` only grows, and what had left a giver was charged to its taker before (src/accounting.ts).
 */
static inline uint32_t fkv_usage(const fkv_pool *pool, int role) {
  uint32_t moved[FKV_SLOTS], sum = 0;
  for (uint32_t slot = 0; slot < FKV_SLOTS; slot += 1)
    moved[slot] = fkv_load(&pool->words[FKV_W_SLOTS + slot * FKV_SLOT_WORDS + 6]);
  uint32_t owners = fkv_load(&pool->words[fkv_role_word(role) + 3]);
  for (uint32_t slot = 0; slot < FKV_SLOTS; slot += 1)
    if (((owners >> slot) & 1u) != 0) sum += fkv_load(&pool->words[FKV_W_SLOTS + slot * FKV_SLOT_WORDS + 5]) - moved[slot];
  return sum;
}
static inline uint32_t fkv_quota(fkv_pool *pool, int role) { return fkv_load(&pool->words[fkv_role_word(role)]); }
static inline uint32_t fkv_turn(fkv_pool *pool, int role) { return fkv_load(&pool->words[fkv_role_word(role) + 2]); }

/* Passes the turn on; FKV_STALE_TURN when it was not `from`. */
static inline int fkv_pass_turn(fkv_pool *pool, int role, uint32_t from, uint32_t to) {
  if (to <= from || to > 0x7fffffffu) return FKV_BAD_ARGUMENT;
  return fkv_compare_exchange(&pool->words[fkv_role_word(role) + 2], &from, to) ? FKV_OK : FKV_STALE_TURN;
}

/* ---- joining and leaving ---- */

/* proc(5) field 22 of this process; 0 where there is no /proc. */
static inline uint64_t fkv_own_start(void) {
  char text[1024];
  FILE *file = fopen("/proc/self/stat", "r");
  if (file == NULL) return 0;
  size_t n = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[n] = 0;
  char *at = strrchr(text, ')'); /* the name before it may hold anything */
  for (int field = 2; at != NULL && field < 22; field += 1) at = strchr(at + 1, ' ');
  return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}
/* The inode that /proc/self/ns/pid leads to; 0 where there is none. */
static inline uint32_t fkv_own_pid_namespace(void) {
  struct stat st;
  return stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

/* Finishes the books of an adoption that was killed half way (src/adoption.ts). Under the file lock. */
static inline void fkv_recover(fkv_pool *pool) {
  uint32_t *w = pool->words, *j = pool->words + FKV_W_JOURNAL;
  if (fkv_load(&j[0]) == 0) return;
  uint32_t moved = fkv_fields_of(fkv_load(&w[FKV_W_MAP + fkv_load(&j[3])]), fkv_load(&j[1]) + 1) & fkv_load(&j[4]);
  fkv_store(&w[FKV_W_SLOTS + fkv_load(&j[2]) * FKV_SLOT_WORDS + 6], fkv_load(&j[5]) + fkv_count_fields(moved));
  fkv_store(&j[0], 0);
}

/* Joins as an owner. FKV_NO_SLOT: 14 owners are in it. FKV_TIMEOUT: the file lock was held for `timeout_ms`. */
static inline int fkv_attach(fkv_pool *pool, int role, uint32_t turn, int timeout_ms, fkv_owner *owner) {
  if ((role != FKV_PREFILL && role != FKV_DECODE) || turn > 0x7fffffffu || pool->words == NULL) return FKV_BAD_ARGUMENT;
  memset(owner, 0, sizeof *owner);
  for (int waited = 0; flock(pool->fd, LOCK_EX | LOCK_NB) != 0; waited += 1) {
    if (errno != EWOULDBLOCK && errno != EINTR) return FKV_IO;
    if (waited >= timeout_ms) return FKV_TIMEOUT;
    poll(NULL, 0, 1);
  }
  fkv_recover(pool);
  uint32_t *w = pool->words;
  uint32_t taken = fkv_load(&w[FKV_W_PREFILL + 3]) | fkv_load(&w[FKV_W_DECODE + 3]), slot = 0;
  while (slot < FKV_SLOTS && ((taken >> slot) & 1u) != 0) slot += 1;
  if (slot == FKV_SLOTS) {
    flock(pool->fd, LOCK_UN);
    return FKV_NO_SLOT;
  }
  uint64_t start = fkv_own_start();
  uint32_t at = FKV_W_SLOTS + slot * FKV_SLOT_WORDS;
  /* First: who is just reading the slot's last owner will see that this is another. */
  fkv_store(&w[at + 7], fkv_load(&w[at + 7]) + 1);
  /* `moved` stays as it is and `charged` begins from it: 0 in both would make a sum under way come out below what is held. */
  uint32_t charged = fkv_load(&w[at + 6]);
  uint32_t record[6] = {(uint32_t)getpid(), (uint32_t)start, (uint32_t)(start >> 32), fkv_own_pid_namespace(), turn, charged};
  for (int i = 0; i < 6; i += 1) fkv_store(&w[at + i], record[i]);
  __atomic_fetch_or(&w[fkv_role_word(role) + 3], 1u << slot, __ATOMIC_SEQ_CST); /* from here on it is an owner */
  flock(pool->fd, LOCK_UN);
  owner->pool = pool;
  owner->slot = slot;
  owner->id = slot + 1;
  owner->at = at;
  owner->role_at = fkv_role_word(role);
  owner->turn = turn;
  owner->charged = charged;
  owner->hint = pool->map_words * ((slot * 5) % FKV_SLOTS) / FKV_SLOTS;
  return FKV_OK;
}

static inline int fkv_is_attached(const fkv_owner *owner) { return owner->id != 0 && owner->pool->words != NULL; }

/* Frees all that the owner holds and leaves; may be repeated. Returns how many blocks that were. */
static inline uint32_t fkv_detach(fkv_owner *owner) {
  uint32_t freed = 0;
  if (!fkv_is_attached(owner)) return 0;
  for (uint32_t i = 0; i < owner->pool->map_words; i += 1)
    freed += fkv_count_fields(fkv_replace_fields(owner->pool, FKV_W_MAP + i, FKV_LOW_BITS, owner->id, 0));
  owner->id = 0;
  __atomic_fetch_and(&owner->pool->words[owner->role_at + 3], ~(1u << owner->slot), __ATOMIC_SEQ_CST);
  return freed;
}

/* The owner may allocate when, and as long as, its role's turn is `turn`. FKV_OK, FKV_BAD_ARGUMENT, FKV_DETACHED. */
static inline int fkv_arm(fkv_owner *owner, uint32_t turn) {
  if (!fkv_is_attached(owner)) return FKV_DETACHED;
  if (turn > 0x7fffffffu) return FKV_BAD_ARGUMENT;
  owner->turn = turn;
  fkv_store(&owner->pool->words[owner->at + 4], turn);
  return FKV_OK;
}

/* ---- allocate and free: no lock, no system call ---- */

static inline void fkv_charge(fkv_owner *owner, uint32_t n) {
  owner->charged += n;
  fkv_store(&owner->pool->words[owner->at + 5], owner->charged);
}

static inline uint32_t fkv_claim(fkv_owner *owner, uint32_t n, uint32_t *out) {
  fkv_pool *pool = owner->pool;
  uint32_t step = pool->map_words < 64 ? pool->map_words : 64, next_count = step, word = owner->hint, got = 0;
  for (uint32_t visited = 1;; visited += 1) {
    uint32_t *at = &pool->words[FKV_W_MAP + word];
    uint32_t seen = __atomic_load_n(at, __ATOMIC_RELAXED), free;
    while ((free = fkv_free_fields(seen)) != 0) {
      uint32_t take = 0;
      for (uint32_t left = free, want = n - got; left != 0 && want != 0; left &= left - 1, want -= 1)
        take |= fkv_low_bit(left);
      if (!fkv_compare_exchange(at, &seen, seen | (take * owner->id))) continue;
      for (; take != 0; take &= take - 1) out[got++] = word * 8 + fkv_lowest_field(take);
      break;
    }
    if (got == n) {
      owner->hint = word;
      return got;
    }
    word = word + 1 == pool->map_words ? 0 : word + 1;
    if (visited != next_count) continue;
    if (visited >= 4 * pool->map_words) return got;
    if (fkv_usage(pool, FKV_PREFILL) + fkv_usage(pool, FKV_DECODE) > pool->blocks) return got;
    next_count += step;
  }
}

static inline uint32_t fkv_release(fkv_owner *owner, const uint32_t *blocks, uint32_t n) {
  uint32_t freed = 0;
  for (uint32_t i = 0; i < n;) {
    uint32_t word = blocks[i] / 8, fields = 0;
    for (; i < n && blocks[i] / 8 == word; i += 1) fields |= 1u << ((blocks[i] % 8) * 4);
    freed += fkv_count_fields(fkv_replace_fields(owner->pool, FKV_W_MAP + word, fields, owner->id, 0));
    owner->hint = word;
  }
  return freed;
}

/* Takes n blocks, all or none, into out[0..n). FKV_OK, FKV_NO_ROOM, FKV_OVER_QUOTA, FKV_STALE_TURN, FKV_BAD_ARGUMENT, FKV_DETACHED. */
static inline int fkv_allocate(fkv_owner *owner, uint32_t n, uint32_t *out) {
  fkv_pool *pool = owner->pool;
  if (!fkv_is_attached(owner)) return FKV_DETACHED;
  if (n == 0) return FKV_BAD_ARGUMENT;
  if (n > pool->blocks) return FKV_NO_ROOM;
  uint32_t *turn = &pool->words[owner->role_at + 2];
  if (fkv_load(turn) != owner->turn) return FKV_STALE_TURN;
  fkv_charge(owner, n); /* charge first, compare then: of two who ask at once at least one sees both */
  uint32_t quota = fkv_load(&pool->words[owner->role_at]);
  if (fkv_usage(pool, owner->role_at == FKV_W_PREFILL ? FKV_PREFILL : FKV_DECODE) > quota) {
    fkv_charge(owner, 0u - n);
    return quota < pool->blocks ? FKV_OVER_QUOTA : FKV_NO_ROOM;
  }
  uint32_t got = fkv_claim(owner, n, out);
  int stale = fkv_load(turn) != owner->turn;
  if (got == n && !stale) return FKV_OK;
  /* A successor that has the turn may have adopted some already: those are in `moved` and must stay charged. */
  uint32_t freed = fkv_release(owner, out, got);
  fkv_charge(owner, got - freed - n);
  return stale ? FKV_STALE_TURN : FKV_NO_ROOM;
}

/*
 * Gives back blocks[0..n). FKV_OK, or with nothing changed FKV_BLOCK_OUT_OF_RANGE, FKV_REPEATED_BLOCK, FKV_DOUBLE_FREE,
 * FKV_FOREIGN_BLOCK, FKV_DETACHED. The test for repeats is quadratic in n where a list is not in the order that allocate gave.
 */
static inline int fkv_free(fkv_owner *owner, const uint32_t *blocks, uint32_t n) {
  fkv_pool *pool = owner->pool;
  if (!fkv_is_attached(owner)) return FKV_DETACHED;
  int rising = 1;
  for (uint32_t i = 0; i < n; i += 1) {
    if (blocks[i] >= pool->blocks) return FKV_BLOCK_OUT_OF_RANGE;
    uint32_t holder = (fkv_load(&pool->words[FKV_W_MAP + blocks[i] / 8]) >> ((blocks[i] % 8) * 4)) & 15u;
    if (holder != owner->id) return holder == 0 ? FKV_DOUBLE_FREE : FKV_FOREIGN_BLOCK;
    if (i > 0 && blocks[i] <= blocks[i - 1]) rising = 0;
  }
  for (uint32_t i = 1; i < n && !rising; i += 1)
    for (uint32_t j = 0; j < i; j += 1)
      if (blocks[i] == blocks[j]) return FKV_REPEATED_BLOCK;
  uint32_t freed = fkv_release(owner, blocks, n);
  fkv_charge(owner, 0u - freed);
  return freed == n ? FKV_OK : FKV_FOREIGN_BLOCK; /* fewer: another owner adopted some meanwhile */
}

#endif
