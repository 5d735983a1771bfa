int g(int); int f(int a) { char b[99]; return g(a + (int)(long)b) + a; } int g(int a) { return a > 9 ? f(a) + 1 : a; } void _start(void) { f(1); }
