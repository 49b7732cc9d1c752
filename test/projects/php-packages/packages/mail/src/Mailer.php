<?php
namespace Own\Mail;

final class Mailer
{
    public function line(string $who): string
    {
        return "hello from $who";
    }
}
