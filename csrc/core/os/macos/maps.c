/* The mappings of this process, which of their pages hold anything, and what, on macOS. */
#include "os/os.h"

#include <errno.h>
#include <libproc.h>
#include <mach/mach.h>
#include <stdio.h>
#include <unistd.h>

int os_maps_begin(struct os_maps *walk, struct sa_why *why)
{
    char probe = 1, got = 0;
    *walk = (struct os_maps){.list = -1, .pages = -1, .memory = -1};
    if (os_maps_read(walk, (uintptr_t)&probe, &got, 1) == 1 && got == probe)
        return 0;
    *why = (struct sa_why){.call = "vm_read_overwrite", .error = EPERM};
    return EPERM;
}

int os_maps_end(struct os_maps *walk)
{
    (void)walk; /* nothing is open, and only the end of all memory ends a walk */
    return 0;
}

/* The path of the file mapped at `at`, or "". Where none is, the kernel may answer for the
 * next region; and proc_regionfilename, which does not say for which, wants MAXPATHLEN
 * bytes of room. */
static void name_of_file(vm_address_t at, char *name, size_t room)
{
    struct proc_regionwithpathinfo region;
    name[0] = 0;
    if (proc_pidinfo(getpid(), PROC_PIDREGIONPATHINFO, at, &region, sizeof region) <= 0 ||
        at < region.prp_prinfo.pri_address ||
        at - region.prp_prinfo.pri_address >= region.prp_prinfo.pri_size)
        return;
    snprintf(name, room, "%s", region.prp_vip.vip_path);
}

/* What malloc and threads tell the kernel of their memory. */
static enum os_map_kind kind_of(unsigned tag, const char *name)
{
    if (tag == VM_MEMORY_STACK)
        return OS_MAP_STACK;
    if ((tag >= VM_MEMORY_MALLOC && tag <= VM_MEMORY_MALLOC_HUGE) ||
        (tag >= VM_MEMORY_MALLOC_LARGE_REUSABLE && tag <= VM_MEMORY_MALLOC_NANO))
        return OS_MAP_HEAP;
    return name[0] ? OS_MAP_FILE : OS_MAP_MEMORY;
}

bool os_maps_next(struct os_maps *walk, struct os_map *out)
{
    vm_address_t at = walk->next;
    vm_size_t size = 0;
    vm_region_submap_info_data_64_t info;
    for (natural_t depth = 0;;) { /* into what processes have in common */
        mach_msg_type_number_t count = VM_REGION_SUBMAP_INFO_COUNT_64;
        if (vm_region_recurse_64(mach_task_self(), &at, &size, &depth,
                                 (vm_region_recurse_info_t)&info, &count))
            return false;
        if (!info.is_submap)
            break;
        depth++;
    }
    *out = (struct os_map){
        .start = (uintptr_t)at,
        .end = (uintptr_t)(at + size),
        .readable = info.protection & VM_PROT_READ,
        .shared = info.share_mode == SM_SHARED || info.share_mode == SM_TRUESHARED,
    };
    name_of_file(at, out->name, sizeof out->name);
    out->kind = kind_of(info.user_tag, out->name);
    if (out->kind == OS_MAP_STACK || out->kind == OS_MAP_HEAP)
        snprintf(out->name, sizeof out->name, out->kind == OS_MAP_STACK ? "[stack]" : "[heap]");
    walk->next = out->end;
    return true;
}

bool os_maps_held(struct os_maps *walk, const struct os_map *map, uintptr_t from, uintptr_t *start,
                  uintptr_t *end)
{
    (void)walk;
    enum { AT_ONCE = 512 };
    uintptr_t page = os_page_size();
    unsigned char held[AT_ONCE];
    while (from < map->end) {
        size_t count = (map->end - from) / page;
        count = count < AT_ONCE ? count : AT_ONCE;
        if (os_touched((void *)from, count * page, held))
            return false; /* unmapped meanwhile */
        if (os_held_run(held, count, from, start, end))
            return true;
        from += count * page;
    }
    return false;
}

/* A page at a time, up to the one that cannot be read. What is not small is not copied but
 * mapped over the pages at `to` (vm_map.c of XNU), which would lose their lock by it and be
 * shared: from 8 KiB on with pages of 4 KiB, and above 16 KiB with larger ones. */
size_t os_maps_read(struct os_maps *walk, uintptr_t from, void *to, size_t bytes)
{
    (void)walk;
    size_t page = os_page_size(), done = 0;
    while (done < bytes) {
        size_t left = page - (from + done) % page;
        size_t want = left < bytes - done ? left : bytes - done;
        vm_size_t got = 0;
        if (vm_read_overwrite(mach_task_self(), from + done, want,
                              (vm_address_t)((uintptr_t)to + done), &got) ||
            got != want)
            break;
        done += want;
    }
    return done;
}
