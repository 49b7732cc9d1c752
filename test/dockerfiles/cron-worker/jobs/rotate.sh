#!/bin/sh
mv log log.1
