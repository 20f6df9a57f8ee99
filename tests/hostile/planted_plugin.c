/* A filter for HDF5 that leaves a trace where it is loaded: reading a run file must not. */
#include <H5PLextern.h>
#include <stdio.h>
#include <stdlib.h>

static size_t pass(unsigned flags, size_t parameters, const unsigned values[], size_t bytes, size_t* size, void** data) {
  (void)flags, (void)parameters, (void)values, (void)size, (void)data;
  return bytes;
}

static const H5Z_class2_t kFilter = {H5Z_CLASS_T_VERS, 32017, 1, 1, "planted", NULL, NULL, &pass};

__attribute__((constructor)) static void leave_trace(void) {
  const char* path = getenv("PLANTED_PLUGIN_TRACE");
  FILE* file = path ? fopen(path, "w") : NULL;
  if (file) fclose(file);
}

H5PL_type_t H5PLget_plugin_type(void) { return H5PL_TYPE_FILTER; }
const void* H5PLget_plugin_info(void) { return &kFilter; }
