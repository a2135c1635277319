#include "xnu.h"
