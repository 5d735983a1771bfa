// A C++ program with one leak beside work that gives everything back: `Broker::subscribe` remembers who asked, and
// nobody ever leaves.
//
// usage: leaking [BYTES_PER_SECOND]     -> ready PID, then until killed
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

struct Subscriber {
    std::uint64_t id;
    char state[992];
};

// A frame between `operator new` and who is to blame: Debian's libstdc++ has no frame pointers, so a walk along them
// misses the direct caller of `operator new`.
[[gnu::noinline]] std::unique_ptr<Subscriber> make_subscriber(std::uint64_t id) {
    return std::make_unique<Subscriber>(Subscriber{id, {}});
}

class Broker {
  public:
    [[gnu::noinline]] void subscribe(std::uint64_t id) { subscribers_.push_back(make_subscriber(id)); }

    [[gnu::noinline]] std::size_t publish(std::uint64_t number) const {
        std::vector<std::string> messages;
        for (int i = 0; i < 20; i++) messages.push_back("message " + std::to_string(number) + " with a text of some length");
        std::size_t sent = 0;
        for (const auto &message : messages) sent += message.size();
        return sent;
    }

  private:
    std::vector<std::unique_ptr<Subscriber>> subscribers_;
};

} // namespace

int main(int argc, char **argv) {
    const double rate = argc > 1 ? std::atof(argv[1]) : 1e6;
    Broker broker;
    std::size_t sent = 0;
    std::cout << "ready " << getpid() << std::endl;
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t id = 0;;) {
        const std::chrono::duration<double> now = std::chrono::steady_clock::now() - start;
        for (; static_cast<double>(id) * sizeof(Subscriber) < rate * now.count(); id++) {
            broker.subscribe(id);
            sent += broker.publish(id);
        }
        if (sent == 1) return 1; // never: what is published counts for the compiler
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}
