//! memsec's malloc and free for C. NULL: no memory.

use core::ptr::NonNull;

#[no_mangle]
pub extern "C" fn bench_memsec_malloc(size: usize) -> *mut u8 {
    unsafe { memsec::malloc_sized(size) }.map_or(core::ptr::null_mut(), |p| p.as_ptr().cast())
}

/// # Safety
/// `at` came from `bench_memsec_malloc`, or is NULL.
#[no_mangle]
pub unsafe extern "C" fn bench_memsec_free(at: *mut u8) {
    if let Some(p) = NonNull::new(at) {
        memsec::free(p)
    }
}
