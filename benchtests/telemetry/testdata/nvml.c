// An NVML of one GPU and of few functions, as an old driver has it, for tests of
// the path from Go through the loader into C. nvml_linux_test.go builds it:
//
//	cc -shared -fPIC -o libnvidia-ml.so.1 nvml.c
//
// Types are those of nvml.h as far as they are used. What is missing here is not
// in the library: calling it would end the process.

#include <string.h>
#include <unistd.h>

typedef int nvmlReturn_t;
typedef void *nvmlDevice_t;

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7 };

typedef struct {
	unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
	unsigned int pid;
	unsigned long long used;
	unsigned int gpu_instance, compute_instance;
} nvmlProcessInfo_t;

static int gpu; // its address is the handle

nvmlReturn_t nvmlInit_v2(void) { return SUCCESS; }
nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t r) { return r == NOT_SUPPORTED ? "Not Supported" : "Unknown Error"; }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *n)
{
	*n = 1;
	return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int i, nvmlDevice_t *d)
{
	*d = &gpu;
	return i == 0 ? SUCCESS : INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *text, unsigned int n)
{
	if (d != &gpu || n < 10)
		return INVALID_ARGUMENT;
	strcpy(text, "GPU-fake");
	return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m)
{
	*m = (nvmlMemory_t){16ull << 30, 13ull << 30, 3ull << 30};
	return d == &gpu ? SUCCESS : INVALID_ARGUMENT;
}

// Go looks this one up and calls the third version.
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t d, unsigned int *n, void *infos)
{
	(void)d, (void)n, (void)infos;
	return INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *infos)
{
	unsigned int room = *n;

	*n = 2;
	if (d != &gpu || room < 2)
		return INSUFFICIENT_SIZE;
	infos[0] = (nvmlProcessInfo_t){(unsigned int)getpid(), 2ull << 30, ~0u, ~0u};
	infos[1] = (nvmlProcessInfo_t){1, 1ull << 30, ~0u, ~0u};
	return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned int *mW)
{
	*mW = 70000;
	return d == &gpu ? SUCCESS : INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t d, int sensor, unsigned int *c)
{
	(void)d, (void)sensor, (void)c;
	return NOT_SUPPORTED;
}
