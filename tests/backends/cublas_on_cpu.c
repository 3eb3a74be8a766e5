/* The few functions of cuBLAS that we call, as its documentation describes them, for tests. */
#include <stddef.h>
#include <stdlib.h>

typedef struct {
  void *stream, *workspace;
  size_t workspace_bytes;
  int math, pointers_on_device;
} Handle;

enum { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13 };

const char* cublasGetStatusString(int status) {
  return status == INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_EXECUTION_FAILED";
}

int cublasCreate_v2(Handle** handle) {
  *handle = calloc(1, sizeof(Handle));
  return SUCCESS;
}

int cublasDestroy_v2(Handle* handle) {
  free(handle);
  return SUCCESS;
}

int cublasSetStream_v2(Handle* handle, void* stream) {
  handle->stream = stream;
  handle->workspace = NULL; /* "unconditionally resets the workspace to the default" */
  return SUCCESS;
}

int cublasSetWorkspace_v2(Handle* handle, void* workspace, size_t bytes) {
  handle->workspace = workspace;
  handle->workspace_bytes = bytes;
  return SUCCESS;
}

int cublasSetPointerMode_v2(Handle* handle, int mode) {
  handle->pointers_on_device = mode;
  return SUCCESS;
}

int cublasSetMathMode(Handle* handle, int math) {
  handle->math = math;
  return SUCCESS;
}

/* Matrices lie in columns; a leading dimension is what lies from one column to the next. */
#define GEMM(name, T)                                                                             \
  int name(Handle* handle, int a_transposed, int b_transposed, int m, int n, int k,               \
           const T* alpha, const T* A, int lda, long long stride_a, const T* B, int ldb,          \
           long long stride_b, const T* beta, T* C, int ldc, long long stride_c, int count) {     \
    if (lda < (a_transposed ? k : m) || ldb < (b_transposed ? n : k) || ldc < m)                  \
      return INVALID_VALUE;                                                                       \
    if (!handle->workspace || !handle->stream || handle->pointers_on_device)                      \
      return EXECUTION_FAILED;                                                                    \
    for (int t = 0; t < count; ++t, A += stride_a, B += stride_b, C += stride_c)                  \
      for (int i = 0; i < m; ++i)                                                                 \
        for (int j = 0; j < n; ++j) {                                                             \
          T sum = 0;                                                                              \
          for (int l = 0; l < k; ++l)                                                             \
            sum += (a_transposed ? A[l + (size_t)i * lda] : A[i + (size_t)l * lda]) *             \
                   (b_transposed ? B[j + (size_t)l * ldb] : B[l + (size_t)j * ldb]);              \
          T* c = C + i + (size_t)j * ldc;                                                         \
          *c = *alpha * sum + (*beta == 0 ? 0 : *beta * *c);                                      \
        }                                                                                         \
    return SUCCESS;                                                                               \
  }

GEMM(cublasSgemmStridedBatched, float)
GEMM(cublasDgemmStridedBatched, double)
