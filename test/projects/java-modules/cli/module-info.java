module own.cli {
    requires own.words;
}
