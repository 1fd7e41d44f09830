/** A queue with cheap ends. It has no bound of its own; its owner refuses before it grows too long. */
export class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  first(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** Puts an item before all others. */
  pushFront(item: T): void {
    if (this.#head > 0) {
      this.#head -= 1;
      this.#items[this.#head] = item;
    } else {
      this.#items.unshift(item);
    }
  }

  takeFirst(): T | undefined {
    const item = this.#items[this.#head];
    if (this.length === 0) return undefined;
    this.#head += 1;
    // Give taken slots back once they are more than half: each item is moved at most once more.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** First to last. */
  *[Symbol.iterator](): Generator<T> {
    for (let i = this.#head; i < this.#items.length; i += 1) yield this.#items[i] as T;
  }

  /** A queue of its own with `copyItem` of every item. */
  copy(copyItem: (item: T) => T): Fifo<T> {
    const copy = new Fifo<T>();
    copy.#items = this.#items.slice(this.#head).map(copyItem);
    return copy;
  }

  takeLast(): T | undefined {
    return this.length === 0 ? undefined : this.#items.pop();
  }
}
