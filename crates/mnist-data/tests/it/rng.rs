//! Keys and the numbers they name, against other implementations.

use mnist_data::Key;
use rand::Rng;

// from hashlib import sha256; i = lambda n: n.to_bytes(8, "little")
// key = sha256(b"mnist-burn/key/1" + i(7)).digest()
// key = sha256(key + b"\1" + b"augment").digest()
// key = sha256(key + b"\0" + i(3)).digest()
// hex(int.from_bytes(key[:8], "little"))
#[test]
fn keys_are_a_chain_of_sha256() {
    let key = Key::new(7).named("augment").with(3);
    assert_eq!(key.seed(), 0x8d3eae20c235094a);
}

/// First words of ChaCha8 with that key, nonce 0, counter 0, from an implementation in Python: a change of `rand` that moves them would break every resume.
#[test]
fn the_generator_is_chacha8() {
    let mut rng = Key::new(7).named("augment").with(3).rng();
    assert_eq!([rng.next_u32(), rng.next_u32(), rng.next_u32()], [0xcc0b4281, 0xbf91bfe, 0x9d4aeb59]);
}

#[test]
fn keys_differ_where_their_paths_do() {
    let root = Key::new(1);
    let keys = [
        root,
        Key::new(2),
        root.with(0),
        root.with(1),
        root.with(0).with(1),
        root.with(1).with(0),
        root.named("order"),
        root.named("augment"),
        root.named("\0\0\0\0\0\0\0\0"), // the bytes of `with(0)`
    ];
    let seeds: std::collections::HashSet<u64> = keys.iter().map(|key| key.seed()).collect();
    assert_eq!(seeds.len(), keys.len());
}
