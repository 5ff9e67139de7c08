/* An external delegate of TensorFlow Lite that takes the first operators of a model and computes nothing.

   The structures are those of tflite/core/c/common.h, as far as they are touched. Options: take=N operators; refuse=1:
   it cannot be made; unfit=1: it refuses the model; crash=1: it aborts when it is applied. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;
typedef struct {
  void* (*init)(Context*, const char*, size_t);
  void (*release)(Context*, void*);
  int (*prepare)(Context*, void*);
  int (*invoke)(Context*, void*);
  const char* (*profiling_string)(const Context*, const void*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* rest[8];
} Registration;
struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context*, IntArray**);
  void* tensors;
  void* impl;
  int (*resize_tensor)(Context*, void*, IntArray*);
  void (*report_error)(Context*, const char*, ...);
  int (*add_tensors)(Context*, int, int*);
  int (*get_node_and_registration)(Context*, int, void**, Registration**);
  int (*replace_nodes)(Context*, Registration, const IntArray*, Delegate*);
};
struct Delegate {
  void* data;
  int (*prepare)(Context*, Delegate*);
  void* copies[3];
  int64_t flags;
  void* builder;
  int take, unfit, crash;
};

static void* init(Context* context, const char* buffer, size_t length) { return NULL; }
static void release(Context* context, void* buffer) {}
static int done(Context* context, void* node) { return 0; }

static int prepare(Context* context, Delegate* delegate) {
  IntArray* plan;
  if (delegate->crash) abort();
  if (delegate->unfit) {
    context->report_error(context, "no operator of this model is known");
    return 2;
  }
  context->get_execution_plan(context, &plan);
  int take = delegate->take < plan->size ? delegate->take : plan->size;
  IntArray* taken = malloc(sizeof(IntArray) + take * sizeof(int));
  taken->size = take;
  memcpy(taken->data, plan->data, take * sizeof(int));
  Registration kernel;
  memset(&kernel, 0, sizeof kernel);
  kernel.init = init;
  kernel.release = release;
  kernel.prepare = done;
  kernel.invoke = done;
  kernel.custom_name = "Tiny";
  kernel.version = 1;
  int status = take ? context->replace_nodes(context, kernel, taken, delegate) : 0;
  free(taken);
  return status;
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->prepare = prepare;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "take")) delegate->take = atoi(values[i]);
    if (!strcmp(keys[i], "unfit")) delegate->unfit = atoi(values[i]);
    if (!strcmp(keys[i], "crash")) delegate->crash = atoi(values[i]);
    if (!strcmp(keys[i], "refuse")) {
      report("no device was found");
      free(delegate);
      return NULL;
    }
  }
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
