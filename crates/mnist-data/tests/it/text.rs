//! Text sets: the repository's own, any other, and what is refused.

use std::{collections::HashSet, fs, sync::Arc};

use mnist_data::{
    Binarise, Examples, Hiding, HostTokens, Images, LabelledImages, Loader, Patches, Sequences, Stream, Task,
    Text, Tokeniser, tokens,
};

#[test]
fn the_repositorys_text_is_split_by_books_and_no_verse_is_in_two() {
    let text = Text::open(None, None).unwrap();
    let sizes = [&text.train, &text.valid, &text.test].map(Vec::len);
    assert_eq!(text.train.len(), 31_102 - 1_370 - 1_332, "{sizes:?}");
    assert!(sizes[1] > 1300 && sizes[2] > 1300, "{sizes:?}");
    let set = |split: &[mnist_data::text::Passage]| -> HashSet<String> {
        split.iter().map(|passage| passage.text.clone()).collect()
    };
    let [train, valid, test] = [set(&text.train), set(&text.valid), set(&text.test)];
    assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    for split in [&text.train, &text.valid, &text.test] {
        assert_eq!(split.iter().map(|p| p.label).collect::<HashSet<_>>().len(), 2, "both testaments");
    }
    assert_eq!(text.train[0].text, "In the beginning God created the heaven and the earth.");
    assert!(!text.train[0].follows && text.train[1].follows);
}

#[test]
fn what_is_no_text_is_refused_and_other_texts_are_split() {
    let dir = tempfile::tempdir().unwrap();
    let error = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        Text::open(Some(&path), None).unwrap_err().to_string()
    };
    assert!(error("short", b"ten bytes.").contains("10 bytes in 1 different passages"));
    assert!(error("binary", b"\x00\x01\x02").contains("a zero byte at 0: binary"));
    assert!(error("latin", b"caf\xe9 au lait").contains("no UTF-8 at 3"));
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(Text::open(Some(&empty), None).unwrap_err().to_string().contains("no .txt file"));
    assert!(Text::open(Some(&dir.path().join("none")), None).unwrap_err().to_string().contains("none"));

    let lines: String = (0..4000).map(|i| format!("Line {} of many.\n", i % 3900)).collect();
    fs::write(empty.join("a.txt"), &lines).unwrap();
    let text = Text::open(Some(&empty), None).unwrap();
    let sizes = [&text.train, &text.valid, &text.test].map(Vec::len);
    assert!(sizes[0] > 3200 && sizes[1] > 80 && sizes[2] > 80, "{sizes:?}");
    let train: HashSet<_> = text.train.iter().map(|p| &p.text).collect();
    assert!(text.valid.iter().chain(&text.test).all(|p| !train.contains(&p.text)));
}

#[test]
fn a_folder_of_texts_for_each_class_is_a_set_with_classes() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let lines =
        |word: &str, count: usize| (0..count).map(|i| format!("{word} number {i}\n")).collect::<String>();
    let refused = || Text::open(Some(home.path()), None).unwrap_err().to_string();
    write("sea/one.txt", lines("wave", 90));
    assert!(refused().contains("1 folders with .txt files"), "{}", refused());
    write("land/b.txt", lines("tree", 200));
    write("land/a.txt", lines("hill", 100));
    write("land/.notes/x.txt", "left out".into());
    write("land/picture.png", "left out".into());
    let text = Text::open(Some(home.path()), None).unwrap();
    assert_eq!(text.classes, ["land", "sea"]);
    let sizes = [&text.train, &text.valid, &text.test].map(Vec::len);
    assert_eq!(sizes.iter().sum::<usize>(), 390);
    assert!(sizes[1] > 15 && sizes[2] > 25, "{sizes:?}");
    for split in [&text.train, &text.valid, &text.test] {
        assert!(split.iter().all(|p| (p.label == 1) == p.text.starts_with("wave")));
        assert!(split.iter().any(|p| p.label == 1) && split.iter().any(|p| p.label == 0));
    }
    let labels: Vec<i32> = text.train.iter().map(|p| p.label).collect();
    assert!(labels[..100].contains(&0) && labels[..100].contains(&1), "all classes, mixed");
    // A line more leaves the others where they are; the digest is of names and contents.
    write("sea/two.txt", "one wave more\n".into());
    let more = Text::open(Some(home.path()), None).unwrap();
    assert!(text.test.iter().all(|p| more.test.contains(p)) && more.digest != text.digest);
    #[cfg(unix)]
    {
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("secret.txt"), lines("secret", 100)).unwrap();
        let link = home.path().join("sea/link.txt");
        std::os::unix::fs::symlink(elsewhere.path().join("secret.txt"), &link).unwrap();
        assert!(refused().contains("leads out of its folder"), "{}", refused());
        fs::remove_file(&link).unwrap();
        let link = home.path().join("sky");
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        assert!(refused().contains("leads out of its folder"), "{}", refused());
        fs::remove_file(&link).unwrap();
    }
    write("sky/few.txt", lines("cloud", 2));
    assert!(refused().contains("no passage of sky to"), "{}", refused());
    write("all.txt", lines("with a file in the folder it is one text", 4000));
    assert_eq!(Text::open(Some(home.path()), None).unwrap().classes, ["text"]);
}

fn first(sequences: Sequences, epoch: usize, size: usize) -> HostTokens {
    let all = (0..mnist_data::loader::Source::len(&sequences)).collect();
    let loader = Loader::of(sequences, all, size).unwrap().seed(1).workers(0);
    let batch = if epoch == 0 { loader.in_order().next() } else { loader.epoch(epoch, 0).next() };
    batch.unwrap()
}

fn verses() -> Arc<Stream> {
    let text = Text::open(None, None).unwrap();
    Arc::new(Stream::new(&text.valid, &Tokeniser::Bytes).unwrap())
}

#[test]
fn windows_tell_every_token_once_from_those_before_it() {
    let stream = verses();
    let sequences = Sequences::text(stream.clone(), 100, Task::Next).unwrap();
    let batch = first(sequences.clone(), 0, 100_000);
    let told: Vec<i32> = batch.targets.iter().copied().filter(|&t| t >= 0).collect();
    assert_eq!(told.len(), stream.len());
    assert_eq!(batch.units.iter().sum::<f32>(), stream.len() as f32);
    assert_eq!(batch.tokens[0], 256 + tokens::START as i32);
    assert_eq!(batch.tokens[1..told.len()], told[..told.len() - 1]);
    let [one, two] = [1, 2].map(|epoch| first(sequences.clone(), epoch, 8));
    assert_ne!(one.tokens, two.tokens);
    assert_eq!(one.tokens[1..100], one.targets[..99]);
    assert!(Sequences::text(stream, usize::MAX, Task::Next).is_err());
}

#[test]
fn hidden_tokens_have_bert_shares_and_pairs_follow_half_of_the_time() {
    let sequences = Sequences::text(verses(), 103, Task::Hidden(Hiding::default())).unwrap();
    let batch = first(sequences, 1, 1000);
    let (mut told, mut masked, mut kept) = (0, 0, 0);
    for (&read, &target) in batch.tokens.iter().zip(&batch.targets) {
        if target >= 0 {
            told += 1;
            masked += usize::from(read == 256 + tokens::MASK as i32);
            kept += usize::from(read == target);
        } else {
            assert_ne!(read, 256 + tokens::MASK as i32);
        }
    }
    let share = |part: usize, whole: usize| part as f64 / whole as f64;
    assert!((share(told, batch.tokens.len()) - 0.1456).abs() < 0.005, "{}", share(told, batch.tokens.len()));
    assert!((share(masked, told) - 0.8).abs() < 0.02 && (share(kept, told) - 0.1).abs() < 0.02);
    let next: i32 = batch.next.iter().sum();
    assert!((450..550).contains(&next), "{next}");
    let line = &batch.tokens[..103];
    assert_eq!(line[0], 256 + tokens::START as i32);
    assert_eq!(line.iter().filter(|&&t| t == 256 + tokens::SEPARATOR as i32).count(), 2);
}

#[test]
fn halves_of_images_are_exchanged_among_the_split_alone() {
    // Image i is all of grey i: white halves tell where they are from.
    let pixels: Vec<u8> = (0..10).flat_map(|i| [if i < 5 { 0 } else { 255 }; 16]).collect();
    let images = Images::new(Arc::new(LabelledImages::new(4, 4, 10, pixels, (0..10).collect()).unwrap()));
    let patches = Arc::new(Patches::lossless([4, 4], [2, 2]).unwrap());
    let hiding = Hiding { share: 0.5, masked: 0.0, random: 0.0 };
    let make =
        |task| Sequences::images(images.clone().binarise(Binarise::Static), &[5, 6], patches.clone(), task);
    let sequences = make(Task::Hidden(hiding)).unwrap();
    let batch = first(sequences, 1, 10);
    for (i, row) in batch.tokens.chunks_exact(7).enumerate() {
        let upper = if batch.indices[i] < 5 { 0 } else { 15 };
        let lower = if batch.next[i] == 1 { upper } else { 15 };
        assert_eq!(row, [16, upper, upper, 17, lower, lower, 17]);
    }
    assert!(batch.next.contains(&0) && batch.next.contains(&1));
    assert_eq!(batch.targets.iter().filter(|&&t| t >= 0).count(), 10 * 2);
    let batch = first(make(Task::Next).unwrap(), 0, 10);
    assert_eq!((batch.len(), batch.length, batch.units[0]), (10, 4, 16.0));
    assert_eq!(batch.tokens[..4], [16, 0, 0, 0]);
}

#[test]
fn a_verse_is_read_from_its_beginning_and_filled_up() {
    let sequences = Sequences::text(verses(), 64, Task::Class { decoder: false }).unwrap();
    let text = Text::open(None, None).unwrap();
    let batch = first(sequences.clone(), 0, 2000);
    assert_eq!(batch.len(), text.valid.len());
    assert_eq!(sequences.labels(), text.valid.iter().map(|p| p.label as u8).collect::<Vec<_>>());
    let [start, separator, pad] =
        [tokens::START, tokens::SEPARATOR, tokens::PAD].map(|which| 256 + which as i32);
    for ((row, &real), passage) in batch.tokens.chunks_exact(64).zip(&batch.lengths).zip(&text.valid) {
        let words = &passage.text.as_bytes()[..passage.text.len().min(62)];
        let words: Vec<i32> = words.iter().map(|&byte| i32::from(byte)).collect();
        assert_eq!(row[..real], [&[start], &words[..], &[separator]].concat());
        assert!(row[real..].iter().all(|&token| token == pad));
    }
    assert!(batch.targets.iter().all(|&target| target < 0) && !batch.per_position);
}

#[test]
fn strips_hold_digits_of_the_split_with_their_classes() {
    // Images of class i are white in i of 4 pixels.
    let pixels: Vec<u8> = (0..5).flat_map(|i| (0..4).map(move |at| if at < i { 255 } else { 0 })).collect();
    let images = Images::new(Arc::new(LabelledImages::new(2, 2, 5, pixels, (0..5).collect()).unwrap()));
    let patches = Arc::new(Patches::lossless([2, 2], [1, 2]).unwrap());
    let sequences = Sequences::images(images, &[0, 1, 2, 3, 4], patches, Task::Label).unwrap();
    let batch = first(sequences.clone().among(&[2, 3]), 1, 5);
    assert_eq!((batch.length, batch.per_position), (12, true));
    let token = |class: i32| [[0, 0], [2, 0], [3, 0], [3, 2], [3, 3]][class as usize];
    for ((row, told), &index) in
        batch.tokens.chunks_exact(12).zip(batch.targets.chunks_exact(12)).zip(&batch.indices)
    {
        assert_eq!([row[0], row[11], told[0], told[11]], [4, 5, -1, -1]);
        assert_eq!(told[1], index as i32);
        for (slot, (tokens, told)) in row[1..11].chunks(2).zip(told[1..11].chunks(2)).enumerate() {
            assert!(told[0] == told[1] && (slot == 0 || [2, 3].contains(&told[0])), "{told:?}");
            assert_eq!(tokens, token(told[0]));
        }
    }
    assert_ne!(batch.tokens, first(sequences.among(&[2, 3]), 2, 5).tokens);
}
