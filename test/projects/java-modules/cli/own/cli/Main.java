package own.cli;

import own.words.Words;

public class Main {
    public static void main(String[] args) {
        System.out.println(new Words("hello").from(args[0]));
    }
}
