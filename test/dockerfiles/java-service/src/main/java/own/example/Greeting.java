package own.example;

final class Greeting {
  static final String TEXT = "hello";
}
