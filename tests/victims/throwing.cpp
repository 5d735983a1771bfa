// Exceptions through everything that a tracer might have touched: bad_alloc out of operator new, and exceptions
// that unwind frames which allocate.
//
// usage: throwing [THREADS] [ROUNDS] [gentle]     -> ready PID   <- go   -> ok CHECKSUM   (exit code 0; 1 if a check failed)
//
// `gentle` leaves out what makes operator new itself fail: mimalloc built as C, as Debian builds it, aborts there.
//
// A hijacked return address under a throwing operator new ends in std::terminate, so the line and the exit code say
// that nothing on the way out was disturbed. The checksum depends on the arguments alone.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

volatile std::size_t huge = std::size_t{1} << 56;
bool gentle = false;
std::atomic<bool> failed{false};
std::atomic<std::uint64_t> live_objects{0};

void expect(bool condition, const char *what) {
    if (condition) return;
    std::fprintf(stderr, "throwing: %s\n", what);
    failed = true;
}

struct Counted {
    std::string name;
    explicit Counted(std::string n) : name(std::move(n)) { live_objects++; }
    Counted(const Counted &other) : name(other.name) { live_objects++; }
    ~Counted() { live_objects--; }
};

struct alignas(64) Aligned {
    std::uint64_t words[16];
};

struct ThrowsInConstructor {
    std::vector<int> before;
    explicit ThrowsInConstructor(int n) : before(100, n) { throw std::runtime_error("constructor " + std::to_string(n)); }
};

[[gnu::noinline]] std::uint64_t descend(int depth, std::uint64_t seed) {
    Counted here("a name long enough to be on the heap, at depth " + std::to_string(depth));
    std::vector<std::uint64_t> numbers(16 + depth, seed);
    std::map<int, std::string> table;
    for (int i = 0; i < 4; i++) table[i] = here.name;
    if (depth == 0) {
        if (gentle || seed % 3 == 0) throw std::runtime_error("bottom " + here.name);
        if (seed % 3 == 1) {
            auto *p = static_cast<char *>(::operator new(huge)); // throws bad_alloc
            p[0] = 1;
        }
        std::vector<char> impossible(huge); // throws from inside the library
        return impossible.size();
    }
    std::uint64_t result = descend(depth - 1, seed);
    return result + numbers.back() + table.size();
}

[[gnu::noinline]] std::uint64_t throw_in_new(std::uint64_t i) {
    std::uint64_t caught = 0;
    if (!gentle) {
        try {
            delete[] new char[huge];
        } catch (const std::bad_alloc &) {
            caught += 1;
        }
        try {
            ::operator delete(::operator new(huge, std::align_val_t{64}), std::align_val_t{64});
        } catch (const std::bad_alloc &) {
            caught += 2;
        }
        // The non-throwing form catches a throw inside itself, in some libraries.
        expect(new (std::nothrow) char[huge] == nullptr, "nothrow new of too much is null");
    }
    try {
        auto object = std::make_unique<ThrowsInConstructor>(static_cast<int>(i % 1000));
    } catch (const std::runtime_error &e) {
        caught += 4 + std::string(e.what()).size();
    }
    return caught;
}

[[gnu::noinline]] std::uint64_t allocate(std::uint64_t i) {
    std::unique_ptr<int[]> array(new int[1 + i % 500]);
    array[0] = static_cast<int>(i);
    auto aligned = std::make_unique<Aligned>();
    expect(reinterpret_cast<std::uintptr_t>(aligned.get()) % 64 == 0, "aligned new is aligned");
    aligned->words[3] = i;
    auto *quiet = new (std::nothrow) std::uint64_t(i);
    expect(quiet != nullptr, "nothrow new succeeds");
    std::uint64_t sum = *quiet + aligned->words[3] + static_cast<std::uint64_t>(array[0]);
    delete quiet;
    return sum;
}

std::uint64_t work(std::uint64_t thread, std::uint64_t rounds) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < rounds; i++) {
        std::uint64_t seed = thread * rounds + i;
        try {
            sum += descend(static_cast<int>(i % 12), seed);
        } catch (const std::bad_alloc &) {
            sum = sum * 31 + 1;
        } catch (const std::exception &e) {
            sum = sum * 31 + std::string(e.what()).size();
        }
        sum = sum * 31 + throw_in_new(i);
        sum = sum * 31 + allocate(seed);
    }
    return sum;
}

} // namespace

int main(int argc, char **argv) {
    const unsigned threads = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 4;
    const std::uint64_t rounds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 2000;
    gentle = argc > 3 && std::string(argv[3]) == "gentle";
    std::cout << "ready " << getpid() << std::endl;
    std::string line;
    while (std::getline(std::cin, line) && line.rfind("go", 0) != 0) {
    }
    std::vector<std::uint64_t> sums(threads);
    std::vector<std::thread> running;
    for (unsigned t = 0; t < threads; t++) running.emplace_back([&, t] { sums[t] = work(t, rounds); });
    std::uint64_t checksum = 0;
    for (unsigned t = 0; t < threads; t++) {
        running[t].join();
        checksum = checksum * 1000003 + sums[t];
    }
    expect(live_objects == 0, "every object that an exception passed was destroyed");
    std::cout << (failed ? "failed " : "ok ") << std::hex << checksum << std::endl;
    return failed ? 1 : 0;
}
