//! Buffers that begin at a cache line, and some that a thread keeps.

use std::cell::RefCell;

/// Zeros that begin at a cache line, so that no vector lies across two.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    store: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    const LINE: usize = 64;

    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let store = vec![0.0_f32; if len == 0 { 0 } else { len + Self::LINE / size_of::<f32>() }];
        let start = store.as_ptr().align_offset(Self::LINE).min(store.len() - len);
        Self { store, start, len }
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.store[self.start..][..self.len]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.store[self.start..][..self.len]
    }
}

/// Calls `work` with `N` buffers of this thread, of the lengths asked for and any content. Not to be nested.
pub(crate) fn with_scratch<const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    const MOST: usize = 6;
    thread_local! {
        static SCRATCH: RefCell<[Buffer; MOST]> = RefCell::new(std::array::from_fn(|_| Buffer::default()));
    }
    SCRATCH.with_borrow_mut(|buffers| {
        let mut buffers = buffers.iter_mut();
        work(lengths.map(|len| match buffers.next() {
            Some(buffer) => {
                if buffer.len < len {
                    *buffer = Buffer::zeros(len);
                }
                &mut buffer.values_mut()[..len]
            }
            None => panic!("no more than {MOST} buffers"),
        }))
    })
}
