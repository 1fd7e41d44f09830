"""Reads a Fulcrum KV pool segment (docs/kv-pool.md): shape, usage, quotas, turns, owners, who holds which block.

Python has no atomic compare-and-set on shared memory, so this reads only: to allocate from Python, compile
fulcrum_kv_pool.h as a shared library, or let the engine's C++ part do it. A read of one aligned 32-bit word is whole;
what is summed over several words may be a little old, never a mixture of two halves.

    pool = KvPool("/dev/shm/pool-0"); print(pool.usage())
    python3 fulcrum_kv_pool.py /dev/shm/pool-0        # all of it, as JSON
"""
import json
import mmap
import os
import sys
import zlib

MAGIC, VERSION, SLOTS, MAX_BLOCKS = 0x50564B46, 1, 14, 1 << 24
ROLE_WORDS = {"prefill": 32, "decode": 48}
SLOTS_AT, SLOT_WORDS = 64, 32
MAP_AT = SLOTS_AT + SLOTS * SLOT_WORDS
MIN_BYTES, MAX_BYTES = (MAP_AT + 1) * 4, (MAP_AT + MAX_BLOCKS // 8) * 4


class SegmentError(Exception):
    """code: not_found, wrong_size, bad_magic, bad_version or corrupt; the message names the field and its bound."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class KvPool:
    def __init__(self, path: str):
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not MIN_BYTES <= size <= MAX_BYTES or size % 4:
                    text = f"{size} bytes; a pool has {MIN_BYTES} to {MAX_BYTES}, in whole words"
                    raise SegmentError("wrong_size", f"{path}: {text}")
                self._map = mmap.mmap(file.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ)
        except FileNotFoundError:
            raise SegmentError("not_found", f"{path}: there is no such file") from None
        # "I": native order, 4 bytes on every platform that Python maps files on; indexing reads one aligned word.
        self._words = memoryview(self._map).cast("I")
        self._check(path, size)
        self.blocks, self.tokens_per_block, self.bytes_per_block = self._words[3:6].tolist()

    def _check(self, path: str, size: int) -> None:
        w = self._words
        if w[0] != MAGIC:
            raise SegmentError("bad_magic", f"{path}: magic is {w[0]:#x}, must be {MAGIC:#x}")
        if w[1] != VERSION:
            raise SegmentError("bad_version", f"{path}: layout version is {w[1]}; this reads version {VERSION}")
        if w[10] != zlib.crc32(self._map[:40]):
            raise SegmentError("corrupt", f"{path}: header checksum is {w[10]:#x}, not that of its fields")
        if w[2] != size:
            raise SegmentError("wrong_size", f"{path}: the file has {size} bytes, its header says {w[2]}")
        words = (w[3] + 7) // 8
        shape = (w[6], w[7], w[8], w[9], size)
        if not 1 <= w[3] <= MAX_BLOCKS or shape != (SLOTS, SLOTS_AT * 4, MAP_AT * 4, words, (MAP_AT + words) * 4):
            raise SegmentError("corrupt", f"{path}: block count {w[3]} (1..{MAX_BLOCKS}) and the offsets do not agree")

    def role(self, role: str) -> dict:
        """Blocks used (never fewer than are held), quota, quota revision and turn of "prefill" or "decode"."""
        w, at = self._words, ROLE_WORDS[role]
        # All `moved` first, then who is in the role, then `charged`: rule 3 of docs/kv-pool.md.
        moved = [w[SLOTS_AT + slot * SLOT_WORDS + 6] for slot in range(SLOTS)]
        owners = w[at + 3]
        used = sum(self._use(slot, moved[slot]) for slot in range(SLOTS) if owners >> slot & 1)
        # Before the quota, which is written first: never a new revision with the quota before it.
        revision = w[at + 1]
        return {"used": used, "quota": w[at], "revision": revision, "turn": w[at + 2]}

    def _use(self, slot: int, moved: int) -> int:
        use = (self._words[SLOTS_AT + slot * SLOT_WORDS + 5] - moved) & 0xFFFFFFFF
        # Never below 0 by the rule; a processor that reads out of order (Python has no fence) must not make it 2^32.
        return use if use < 1 << 31 else 0

    def usage(self) -> dict:
        return {"blocks": self.blocks, **{role: self.role(role) for role in ROLE_WORDS}}

    def owners(self) -> list:
        """The leases' owners: slot, role, pid, start time (proc(5) field 22; 0 unknown), turn, blocks charged."""
        found = (self._owner(slot) for slot in range(SLOTS))
        return [owner for owner in found if owner is not None]

    def _owner(self, slot: int):
        w, at = self._words, SLOTS_AT + slot * SLOT_WORDS
        for _ in range(16):
            joins = w[at + 7]
            role = next((role for role, role_at in ROLE_WORDS.items() if w[role_at + 3] >> slot & 1), None)
            if role is None:
                return None
            owner = {"slot": slot, "role": role, "pid": w[at], "start": w[at + 1] | w[at + 2] << 32, "turn": w[at + 4]}
            owner["blocks"] = self._use(slot, w[at + 6])
            if w[at + 7] == joins:  # else another joined meanwhile: half of this is its
                return owner
        return None

    def holders(self) -> list:
        """For each block the slot that holds it, or None: the map itself."""
        fields = (self._words[MAP_AT + block // 8] >> block % 8 * 4 & 15 for block in range(self.blocks))
        return [field - 1 if field else None for field in fields]


if __name__ == "__main__":
    try:
        opened = KvPool(sys.argv[1])
    except SegmentError as error:
        sys.exit(f"{error.code}: {error}")
    held = {str(block): slot for block, slot in enumerate(opened.holders()) if slot is not None}
    print(json.dumps({**opened.usage(), "owners": opened.owners(), "held": held}))
