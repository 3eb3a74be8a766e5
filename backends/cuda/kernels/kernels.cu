// All kernels, each as `name<T>` or `name<T, S>`: T float or double, S samples a group.
// Every one takes the plan, and a number that says which layer or which loop.
#include "closed_loop.cuh"
#include "feedback.cuh"
#include "integration.cuh"
#include "learning.cuh"
#include "open_loop.cuh"
#include "readout.cuh"
