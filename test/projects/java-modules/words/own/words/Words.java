package own.words;

public record Words(String hello) {
    public String from(String who) {
        return hello + " from " + who;
    }
}
