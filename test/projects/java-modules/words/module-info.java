module own.words {
    exports own.words;
}
