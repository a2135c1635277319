/* What the process-wide calls keep. */
#ifndef SECALLOC_PROCESS_H
#define SECALLOC_PROCESS_H

/* In a forked child: no lockdown of the parent's runs here. */
void process_forked(void);

#endif
