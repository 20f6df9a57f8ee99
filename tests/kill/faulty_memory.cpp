// Replaces operator new of the program that it is linked into.
#include "kill/faulty_memory.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> left{0};  // 0: none fails.
std::atomic<bool> others{false};
std::atomic<bool> once{false};
thread_local bool in_this_thread = false;

bool fails() {
  if (left.load(std::memory_order_relaxed) == 0 || in_this_thread == others) return false;
  if (left == 1) {
    if (once) left = 0;
    return true;
  }
  --left;
  return false;
}

void* allocate(std::size_t size) { return fails() ? nullptr : std::malloc(size > 0 ? size : 1); }

}  // namespace

namespace gradhealth::test {

FailingMemory::FailingMemory(long first, Threads threads, Failing failing) {
  in_this_thread = true;
  once = failing == Failing::kOnce;
  others = threads == Threads::kOthers;
  left = first;
}

FailingMemory::~FailingMemory() {
  left = 0;
  in_this_thread = false;
}

}  // namespace gradhealth::test

void* operator new(std::size_t size) {
  if (void* memory = allocate(size)) return memory;
  throw std::bad_alloc();
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
