/* Leaks from very many call paths (see paths.h), through what C++ programs are made of: virtual calls, std::function,
 * exceptions that pass and are caught on the way, and the containers of the standard library. */
#include "paths.h"

#include <functional>
#include <list>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

static thread_local struct job *mine;

/* Allocates as std::allocator does, and notes the path. */
template <class T> struct Noting {
    using value_type = T;
    Noting() = default;
    template <class U> Noting(const Noting<U> &) {}
    __attribute__((noinline)) T *allocate(std::size_t count) {
        note_path(mine, count * sizeof(T));
        return static_cast<T *>(::operator new(count * sizeof(T)));
    }
    /* Nothing that was noted is given back. */
    void deallocate(T *, std::size_t) noexcept { _exit(94); }
    template <class U> bool operator==(const Noting<U> &) const { return true; }
    template <class U> bool operator!=(const Noting<U> &) const { return false; }
};

/* An object that nobody ends. */
template <class T, class... Arguments> __attribute__((noinline)) T *leaked(Arguments &&...arguments) {
    return new (Noting<T>().allocate(1)) T(std::forward<Arguments>(arguments)...);
}

void *volatile kept;

__attribute__((noinline)) static void leak(uint64_t path) {
    using Text = std::basic_string<char, std::char_traits<char>, Noting<char>>;
    using Tree = std::map<uint64_t, Text, std::less<>, Noting<std::pair<const uint64_t, Text>>>;
    using Table = std::unordered_map<uint64_t, uint64_t, std::hash<uint64_t>, std::equal_to<>,
                                     Noting<std::pair<const uint64_t, uint64_t>>>;
    switch (path % 5) {
        case 0: kept = leaked<std::vector<uint64_t, Noting<uint64_t>>>(2 + path % 7); break;
        case 1: {
            auto *tree = leaked<Tree>();
            tree->emplace(path, Text(40 + path % 48, 'x'));
            kept = tree;
            break;
        }
        case 2: {
            auto *table = leaked<Table>();
            (*table)[path] = path;
            kept = table;
            break;
        }
        case 3: {
            auto *list = leaked<std::list<Text, Noting<Text>>>();
            list->emplace_back(40 + path % 48, 'y');
            kept = list;
            break;
        }
        default: kept = leaked<uint64_t>(path);
    }
}

/* Thrown when a path has leaked, to be caught at a level. */
struct Done : std::runtime_error {
    int level;
    explicit Done(int at) : std::runtime_error("done, and no short string either"), level(at) {}
};

struct Step {
    virtual void go(uint64_t path, int level) const = 0;
    virtual ~Step() = default;
};

static void descend(uint64_t path, int level);

/* Frames of several sizes. */
template <int Words> struct Plain final : Step {
    void go(uint64_t path, int level) const override {
        volatile uint64_t pad[Words];
        pad[0] = path;
        descend(path, level - 1);
        pad[Words - 1] = pad[0];
    }
};

/* Catches what is meant for its level. */
struct Catching final : Step {
    void go(uint64_t path, int level) const override {
        std::string what(20 + level % 7, 'c');
        try {
            descend(path, level - 1);
        } catch (const Done &done) {
            if (done.level != level) throw;
        }
        kept = &what;
    }
};

/* Calls by a std::function whose lambda does not fit into it. */
struct Calling final : Step {
    void go(uint64_t path, int level) const override {
        volatile uint64_t calls[3] = {path, 1, 2};
        std::function<void()> call = [=, &calls] {
            calls[1] = calls[0] + calls[2];
            descend(path, level - 1);
            calls[2] = calls[1];
        };
        call();
    }
};

static const Plain<2> small_step;
static const Plain<33> large_step;
static const Catching catching_step;
static const Calling calling_step;
static const Step *volatile steps[] = {&small_step, &catching_step, &calling_step, &large_step};

static void descend(uint64_t path, int level) {
    if (level > 0) return steps[digit_at(mine, path, level)]->go(path, level);
    leak(path);
    if (path % 3 == 0) throw Done(mine->depth - static_cast<int>(path % 4));
}

static void go_path(struct job *job, uint64_t path) {
    mine = job;
    try {
        descend(path, job->depth);
    } catch (const Done &) {
        /* No function of that level catches it. */
    }
}

int main(int argc, char **argv) { return serve_paths(argc, argv, 4); }
