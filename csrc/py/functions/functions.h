/* The module's functions: a table for each file, which module.c joins. */
#ifndef SECALLOC_PY_FUNCTIONS_H
#define SECALLOC_PY_FUNCTIONS_H

#include "objects/state.h"
#include "secalloc.h"

extern PyMethodDef py_arena_functions[];
extern PyMethodDef py_codec_functions[];
extern PyMethodDef py_environ_functions[];
extern PyMethodDef py_handover_functions[];
extern PyMethodDef py_make_functions[];
extern PyMethodDef py_marker_functions[];
extern PyMethodDef py_package_functions[];
extern PyMethodDef py_process_functions[];
extern PyMethodDef py_read_functions[];
extern PyMethodDef py_residue_functions[];
extern PyMethodDef py_shelter_functions[];
extern PyMethodDef py_survey_functions[];
extern PyMethodDef py_terminal_functions[];

#endif
